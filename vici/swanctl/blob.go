package swanctl

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

var errTooLong = errors.New("longer than VICI has room for")

// files reads certificates and public keys, and counts what it has read.
type files struct {
	dir  string // a file in the folder that contains the folders of certificates
	read int    // bytes read so far
}

// folders maps each key to the folder in which swanctl looks for names without a path.
var folders = map[string]string{"certs": "x509", "cacerts": "x509ca", "pubkeys": "pubkey"}

// contents returns the contents of the named files. A name may also be the content itself, in
// hexadecimal digits (0x…) or base64 (0s…).
func (f *files) contents(key string, names []string) ([]string, error) {
	all := make([]string, 0, len(names))
	for _, name := range names {
		content, err := f.content(key, name)
		if err != nil {
			return nil, err
		}
		if len(content) > longestText {
			return nil, errTooLong
		}
		all = append(all, content)
	}
	return all, nil
}

func (f *files) content(key, name string) (string, error) {
	prefix := strings.ToLower(name[:min(len(name), 2)])
	switch prefix {
	case "0x":
		b, err := hex.DecodeString(strings.ReplaceAll(name[2:], ":", ""))
		if err != nil {
			return "", errors.New("what follows 0x is not hexadecimal")
		}
		return string(b), nil
	case "0s":
		b, err := base64.StdEncoding.DecodeString(name[2:])
		if err != nil {
			return "", errors.New("what follows 0s is not base64")
		}
		return string(b), nil
	}
	if !filepath.IsAbs(name) {
		folder, ok := folders[key]
		if !ok {
			return "", fmt.Errorf("in capitals, this key makes swanctl look for %s in the folder where it is started; write %s", quote(name), strings.ToLower(key))
		}
		name = filepath.Join(filepath.Dir(f.dir), folder, name)
	}
	return f.file(name)
}

// file reads a file. It returns an error if the files together exceed what a VICI message holds.
func (f *files) file(name string) (string, error) {
	const most = 512 << 10
	in, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", reason(err))
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(in, int64(most-f.read+1)))
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", reason(err))
	}
	f.read += len(data)
	switch {
	case len(data) == 0:
		return "", fmt.Errorf("%s is empty", name)
	case f.read > most:
		return "", fmt.Errorf("with %s the files are larger than a VICI message can be", name)
	}
	return string(data), nil
}
