package swanctl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Bounds on what is read. No sensible configuration comes near them, but files that include each
// other soon reach them.
const (
	maxBytes    = 8 << 20 // of all files together
	maxFiles    = 1000
	maxIncludes = 20 // depth of files that include files
)

// source is a file that is being read.
type source struct {
	name    string
	text    string
	off     int
	line    int      // the line of text[off]
	include []string // files that the latest include named and that are still to be read
	at      Pos      // the place of that include
}

func (s *source) pos() Pos { return Pos{s.name, s.line} }

// peek returns the byte at a distance, or 0 beyond the end. Files have no zero bytes.
func (s *source) peek(distance int) byte {
	if s.off+distance >= len(s.text) {
		return 0
	}
	return s.text[s.off+distance]
}

func (s *source) ended() bool { return s.off >= len(s.text) }

// advance moves forward by n bytes and returns them.
func (s *source) advance(n int) string {
	passed := s.text[s.off : s.off+n]
	s.line += strings.Count(passed, "\n")
	s.off += n
	return passed
}

// until moves to the first byte in set, or to the end, and returns the bytes before it.
func (s *source) until(set string) string {
	n := strings.IndexAny(s.text[s.off:], set)
	if n < 0 {
		n = len(s.text) - s.off
	}
	return s.advance(n)
}

// budget counts the files and bytes that were read.
type budget struct{ files, bytes int }

// read opens a file that an include or the user named. It returns nil for anything but a regular
// file, which swanctl ignores.
func (b *budget) read(name string, by Pos) (*source, error) {
	// without O_NONBLOCK, opening a pipe would wait for its writer
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		what := strings.TrimPrefix(reason(err).Error(), by.File+": ")
		return nil, problemf(by, "cannot be read: %s", what)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, problemf(by, "cannot be read: %v", reason(err))
	}
	if !info.Mode().IsRegular() {
		return nil, nil
	}
	b.files++
	if b.files > maxFiles {
		return nil, problemf(by, "more than %d files are included", maxFiles)
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(maxBytes-b.bytes+1)))
	if err != nil {
		return nil, problemf(by, "cannot be read: %v", reason(err))
	}
	b.bytes += len(data)
	if b.bytes > maxBytes {
		return nil, problemf(by, "the files together are larger than %d bytes", maxBytes)
	}
	if n := bytes.IndexByte(data, 0); n >= 0 {
		return nil, problemf(Pos{name, 1 + bytes.Count(data[:n], []byte("\n"))}, "a zero byte: this is not a text file")
	}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return nil, problemf(Pos{name, 1}, "the file begins with a byte order mark, which strongSwan takes for a part of the first name; save it without")
	}
	return &source{name: name, text: string(data), line: 1}, nil
}

// reason removes the operation and the path from an error whose message has both already.
func reason(err error) error {
	var p *fs.PathError
	if !errors.As(err, &p) {
		return err
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: %w; run this as root", p.Path, p.Err)
	}
	return fmt.Errorf("%s: %w", p.Path, p.Err)
}

// matches returns the files that an include names, in the order in which they are read. As in
// glob(3), a name with a leading dot matches only a pattern with that dot. It is no error if no
// file matches, but it is one if this process may not search.
func matches(pattern string, by Pos) ([]string, error) {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(by.File), pattern)
	}
	names, err := filepath.Glob(strings.ReplaceAll(pattern, "[!", "[^"))
	if err != nil {
		return nil, problemf(by, "%s is not a pattern of file names", quote(pattern))
	}
	base := filepath.Base(pattern)
	names = slices.DeleteFunc(names, func(name string) bool {
		return filepath.Base(name)[0] == '.' && base[0] != '.'
	})
	slices.Sort(names)
	if len(names) == 0 {
		if d, err := os.Open(filepath.Dir(pattern)); err == nil {
			d.Close()
		} else if errors.Is(err, fs.ErrPermission) {
			return nil, problemf(by, "cannot be read: %v", reason(err))
		}
	}
	return names, nil
}
