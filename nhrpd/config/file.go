package config

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"cygnet/nhrpd/config/document"
	"cygnet/nhrpd/config/hostfile"
	"cygnet/nhrpd/config/secret"
)

// absolute checks the path of a file.
func (c *checker) absolute(v document.Value[string], def string) string {
	if !v.Set {
		return def
	}
	if !filepath.IsAbs(v.V) || filepath.Clean(v.V) != v.V {
		c.Report(v.At, "found %s, allowed is an absolute path without . and .. in it",
			document.Quote(v.V))
	}
	return v.V
}

// secretFile returns the secret in a file, without the end of its line. It shows no value that is
// not a path, since that may be the secret itself.
func (c *checker) secretFile(v document.Value[string]) secret.Secret {
	if v.Set && (!filepath.IsAbs(v.V) || filepath.Clean(v.V) != v.V) {
		c.Report(v.At, "allowed is the absolute path, without . and .. in it, of a file that holds the secret")
		return nil
	}
	if !v.Set || c.read == nil {
		return nil
	}
	f, err := c.read(v.V)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.Report(v.At, "%s does not exist; create it readable by root alone: install -m 600 /dev/stdin %s", v.V, v.V)
		return nil
	case errors.Is(err, fs.ErrPermission):
		c.Report(v.At, "no permission to read %s; run this as root", v.V)
		return nil
	case err != nil:
		c.Report(v.At, "%v", err)
		return nil
	}
	if wrong := cmp.Or(f.ReadFault(v.V), f.WriteFault(v.V, os.Geteuid())); wrong != "" {
		c.Report(v.At, "%s", wrong)
		return nil
	}
	text := bytes.TrimSuffix(bytes.TrimSuffix(f.Data, []byte("\n")), []byte("\r"))
	switch {
	case len(text) == 0:
		c.Report(v.At, "%s holds no secret: its first line is empty", v.V)
	case bytes.IndexByte(text, '\n') >= 0:
		c.Report(v.At, "%s has several lines, allowed is the secret alone on one line", v.V)
	default:
		c.notation(v, text)
	}
	return text
}

// notation refuses a secret that is a line of another program's file. It warns of characters that
// were hardly meant to be part of the secret.
func (c *checker) notation(v document.Value[string], text []byte) {
	if fault := secret.LineFault(v.V, text); fault != "" {
		c.Report(v.At, "%s", fault)
	} else if warning := secret.NotationWarning(v.V, text); warning != "" {
		c.Warn(v.At, "%s", warning)
	}
}

// checkAccess refuses a configuration that others may change, and a configuration that holds a
// password and that others may read.
func (c *checker) checkAccess(name string, f *hostfile.File, raw *rawFile) {
	password := document.Place(nil)
	for _, in := range raw.Interface {
		if !in.Authentication.Set {
			continue
		}
		if file, _ := c.Where(in.Authentication.At); file == name {
			password = in.Authentication.At
		}
	}
	wrong := f.WriteFault(name, os.Geteuid())
	switch {
	case password == nil && f.Mode&0o002 != 0, password != nil && wrong != "":
		c.Report(password, "%s", wrong)
	case password != nil && f.Mode&0o007 != 0:
		c.Report(password, "everybody on this host may read %s with the password in it (mode %04o); change the password, then use authentication_file, or chmod 640 %s", name, f.Mode.Perm(), name)
	}
}
