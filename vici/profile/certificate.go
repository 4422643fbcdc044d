package profile

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"cygnet/vici/swanctl"
)

// longestValue is the longest value that VICI has room for, in bytes.
const longestValue = 65535

// certificates returns the contents of files below a folder of swanctl's, or at absolute paths.
// This end sends charon the contents, as swanctl does: where AppArmor confines charon, as on
// Debian, it may not read the files itself.
func certificates(folder string, names []string) ([]string, error) {
	var contents []string
	for _, name := range names {
		if !filepath.IsAbs(name) {
			name = filepath.Join(swanctl.PlacesHere().Folder, folder, name)
		}
		content, err := readCertificate(name)
		if err != nil {
			return nil, err
		}
		contents = append(contents, content)
	}
	return contents, nil
}

// readCertificate returns the content of a regular file of at most longestValue bytes.
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
