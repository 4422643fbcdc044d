package nhrpd

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// writeSize is how much goes into the file with one system call: a large hub's state is some megabytes.
const writeSize = 32 << 10

// replaceFile replaces a file with what write writes: a crash, of the machine as well, leaves the old one or the new one, whole. It makes
// the folder where there is none, and returns when the new one is on the disk.
func replaceFile(path string, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	part := path + ".part"
	if err := writeSynced(part, write); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeSynced(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	// One that an earlier run left may have any mode.
	if err := file.Chmod(0o600); err != nil {
		return errors.Join(err, file.Close())
	}
	buffered := bufio.NewWriterSize(file, writeSize)
	if err := errors.Join(write(buffered), buffered.Flush()); err != nil {
		return errors.Join(err, file.Close())
	}
	return errors.Join(file.Sync(), file.Close())
}

// syncDir has a folder's names on the disk: those of its files that were renamed.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
