package vici

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// swanctlFolder is where certificates are looked for that are given by name.
const swanctlFolder = "/etc/swanctl"

// longestValue is what VICI has room for, in bytes.
const longestValue = 65535

// certificates reads files, for lists of certificates as swanctl sends them. Charon could read the files itself, but where AppArmor
// confines it, as on Debian, it may not.
func certificates(folder string, names []string) ([]string, error) {
	var contents []string
	for _, name := range names {
		if !filepath.IsAbs(name) {
			name = filepath.Join(swanctlFolder, folder, name)
		}
		content, err := readCertificate(name)
		if err != nil {
			return nil, err
		}
		contents = append(contents, content)
	}
	return contents, nil
}

func readCertificate(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read a certificate: %w", err)
	}
	if !info.Mode().IsRegular() { // a pipe would make everybody wait
		return "", fmt.Errorf("read a certificate: %s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read a certificate: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, longestValue+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read a certificate: %w", err)
	case len(content) > longestValue:
		return "", fmt.Errorf("read a certificate: %s is longer than %d bytes", path, longestValue)
	}
	return string(content), nil
}
