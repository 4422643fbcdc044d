package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxFile bounds the size of a file. No sensible configuration or secret comes near it.
const maxFile = 1 << 20

// fileReader reads a file and finds out who may read or change it.
type fileReader func(path string) (*file, error)

// readFile reads a regular file. It opens the file with O_NONBLOCK, since opening a pipe would
// otherwise wait for its writer.
func readFile(path string) (*file, error) {
	opened, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	info, err := opened.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f := accessOf(path, info)
	if f.data, err = io.ReadAll(io.LimitReader(opened, maxFile+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(f.data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return &f, nil
}

// absolute checks the path of a file.
func (c *checker) absolute(v value[string], def string) string {
	if !v.set {
		return def
	}
	if !filepath.IsAbs(v.v) || filepath.Clean(v.v) != v.v {
		c.problem(v.at, "found %s, allowed is an absolute path without . and .. in it", quote(v.v))
	}
	return v.v
}

// secretFile returns the secret in a file, without the end of its line. It shows no value that is
// not a path, since that may be the secret itself.
func (c *checker) secretFile(v value[string]) Secret {
	if v.set && (!filepath.IsAbs(v.v) || filepath.Clean(v.v) != v.v) {
		c.problem(v.at, "allowed is the absolute path, without . and .. in it, of a file that holds the secret")
		return nil
	}
	if !v.set || c.read == nil {
		return nil
	}
	f, err := c.read(v.v)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.problem(v.at, "%s does not exist; create it readable by root alone: install -m 600 /dev/stdin %s", v.v, v.v)
		return nil
	case errors.Is(err, fs.ErrPermission):
		c.problem(v.at, "no permission to read %s; run this as root", v.v)
		return nil
	case err != nil:
		c.problem(v.at, "%v", err)
		return nil
	}
	if wrong := cmp.Or(f.readable(v.v), f.writable(v.v, os.Geteuid())); wrong != "" {
		c.problem(v.at, "%s", wrong)
		return nil
	}
	secret := bytes.TrimSuffix(bytes.TrimSuffix(f.data, []byte("\n")), []byte("\r"))
	switch {
	case len(secret) == 0:
		c.problem(v.at, "%s holds no secret: its first line is empty", v.v)
	case bytes.IndexByte(secret, '\n') >= 0:
		c.problem(v.at, "%s has several lines, allowed is the secret alone on one line", v.v)
	case !c.foreignLine(v, secret):
		c.warnOfNotation(v, secret)
	}
	return secret
}
