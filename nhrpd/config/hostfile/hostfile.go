// Package hostfile reads the files of this host that hold the configuration and its secrets, and
// finds out who else may read or change them.
package hostfile

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// MaxSize bounds the size of a file. No sensible configuration or secret comes near it.
const MaxSize = 1 << 20

// Read reads a regular file, and finds out who else may read or change it. It opens the file with
// O_NONBLOCK, since opening a pipe would otherwise wait for its writer.
func Read(path string) (*File, error) {
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
	if f.Data, err = io.ReadAll(io.LimitReader(opened, MaxSize+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(f.Data) > MaxSize {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, MaxSize)
	}
	return &f, nil
}
