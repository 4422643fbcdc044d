// Package statefile is the format of the file in which the daemon keeps its state over a restart:
// what is in the file, how it is written and read, and how a file of the version before is read.
//
// The file is a sequence of JSON values, the records, each on a line of its own. The first record
// has the version of the format. Each of the others is an interface, or something that belongs to
// the interface that came last: an NHS, a binding, a shortcut, an answer, an owner, or a client
// that is away. So neither the writer nor the reader ever holds the text of more than one entry in
// memory.
//
// A daemon that knows a field or a kind of record may read a file that lacks it, and the other way
// round: what is unknown is ignored, and what is missing has its zero value. A new field or record
// therefore needs no new version. A field whose meaning changes does. When the version grows, the
// types of the version before move to a file of their own (such as version2.go) with a function
// that turns its records into those of the new version.
package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"cygnet/nhrpd/engine"
)

// Version is the version of the format that Encode writes.
const Version = 3

// Moment is a point in time, once by the clock and once by the machine's uptime, which nobody can
// set. From two moments the daemon finds out whether somebody set the clock between them.
type Moment struct {
	At   time.Time     `json:"At"`
	Boot string        `json:"Boot"` // the ID of the boot
	Up   time.Duration `json:"Up"`   // since that boot
}

// header is the first record. It is the same in all versions of the format.
type header struct {
	Version int     `json:"Version"`
	Written *Moment `json:"Written,omitempty"` // when the state was saved; nil: not known
}

// Encode writes the file of a state that was saved at the moment written. The moment may be nil.
func Encode(w io.Writer, saved engine.Saved, written *Moment) error {
	out := json.NewEncoder(w)
	if err := out.Encode(header{Version: Version, Written: written}); err != nil {
		return err
	}
	for i := range saved.Interfaces {
		if err := encodeInterface(out, &saved.Interfaces[i]); err != nil {
			return err
		}
	}
	return nil
}

// Decode reads a file of this version or of the version before. It returns the state and the moment
// at which the state was saved, which is nil if the file does not have it. It returns an error, and
// no state, if the file is damaged or of another version.
func Decode(r io.Reader) (engine.Saved, *Moment, error) {
	in := newReader(r)
	var head header
	switch err := in.next(&head); {
	case errors.Is(err, io.EOF):
		return engine.Saved{}, nil, errors.New("the file is empty")
	case err != nil:
		return engine.Saved{}, nil, err
	}
	var saved engine.Saved
	var err error
	switch head.Version {
	case Version:
		err = decode(in, &saved)
	case version2:
		err = decodeVersion2(in, &saved)
	default:
		err = otherVersion(head.Version)
	}
	if err != nil {
		return engine.Saved{}, nil, err
	}
	return saved, head.Written, nil
}

// decode adds the records of this version to a state.
func decode(in *reader, saved *engine.Saved) error {
	for {
		var r record
		switch err := in.next(&r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		r.addTo(saved)
	}
}

// otherVersion returns the error for a file of a version that this package does not read.
func otherVersion(version int) error {
	if version > Version {
		return fmt.Errorf("a newer daemon wrote it: it is of version %d, this daemon reads %d and %d",
			version, version2, Version)
	}
	return fmt.Errorf("it is of version %d, this daemon reads %d and %d",
		version, version2, Version)
}
