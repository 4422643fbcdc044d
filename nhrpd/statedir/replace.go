package statedir

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// writeSize is how many bytes go into the file with one system call. The state of a large hub has
// some megabytes.
const writeSize = 32 << 10

// replaceFile replaces a file with what write writes. After a crash of the daemon or of the machine
// the file is the old one or the new one, whole. replaceFile makes the folder if it is missing. It
// returns when the new file is on the disk, or with an error.
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

// writeSynced writes a file that only its owner can read, and returns when it is on the disk.
func writeSynced(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	// A file that an earlier run left keeps its mode when it is opened.
	if err := file.Chmod(0o600); err != nil {
		return errors.Join(err, file.Close())
	}
	buffered := bufio.NewWriterSize(file, writeSize)
	if err := errors.Join(write(buffered), buffered.Flush()); err != nil {
		return errors.Join(err, file.Close())
	}
	return errors.Join(file.Sync(), file.Close())
}

// syncDir writes a folder to the disk, which makes the new names of its renamed files last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
