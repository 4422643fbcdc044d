package statefile

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The longest records that are read, in bytes. They bound the memory that a damaged file can take.
// A record of this version is far shorter: the longest has an identity, of 64 KiB at most, and the
// prefixes of one client. A record of version 2 may have all shortcuts and answers of an interface.
const (
	longestRecord  = 1 << 20
	longestRecord2 = 1 << 30
)

// errTooLong is the error for a record that is longer than the longest that is read.
var errTooLong = errors.New("it is longer than any record can be")

// reader reads the records of a file, one after the other.
type reader struct {
	json  *json.Decoder
	input *bounded
	most  int // the longest record that is read
	count int // how many records were read
}

// newReader returns a reader of records of this version.
func newReader(r io.Reader) *reader {
	input := &bounded{r: bufio.NewReader(r)}
	return &reader{json: json.NewDecoder(input), input: input, most: longestRecord}
}

// next reads the next record into v. It returns io.EOF if there is none.
func (in *reader) next(v any) error {
	in.input.left = in.most
	err := in.json.Decode(v)
	if err == nil {
		in.count++
		return nil
	}
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return fmt.Errorf("record %d: %w", in.count+1, err)
}

// bounded is a reader from which at most left bytes are read.
type bounded struct {
	r    io.Reader
	left int
}

// Read reads from the underlying reader. It returns errTooLong if no bytes are left.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
