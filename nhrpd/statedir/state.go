// Package statedir has the files that a daemon keeps in its folder on the disk, which a restart
// reads: the saved state and who is blocked. A crash or a power cut leaves each of them whole.
//
// The package nhrpd/statefile has the format of the saved state. When something is saved is the
// daemon's decision. Only one goroutine at a time may save a file.
package statedir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/statefile"
)

// State is the file that tells a restarted daemon what the last run knew of other routers:
// registrations, bindings, shortcuts, answers, and who owns which overlay address. A lost file
// costs one registration of every peer. The package statefile has the format.
type State struct {
	Dir string
	// Uptime returns an ID of the machine's boot and the time since; see clock.Uptime.
	Uptime func() (boot string, up time.Duration, err error)
}

// Path returns the path of the file.
func (f State) Path() string { return filepath.Join(f.Dir, "state.json") }

// Load reads the file. It returns no state and no error if there is no file yet.
func (f State) Load() (engine.Saved, error) {
	file, err := os.Open(f.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return engine.Saved{}, nil
	}
	if err != nil {
		return engine.Saved{}, fmt.Errorf("read saved state: %w", err)
	}
	defer file.Close()
	saved, written, err := statefile.Decode(file)
	if err != nil {
		return engine.Saved{}, fmt.Errorf("read saved state %s: %w", f.Path(), err)
	}
	saved.Shift(f.clockSet(written))
	return saved, nil
}

// SetAside keeps a file that Load cannot read, since the next save replaces it: a newer daemon,
// which wrote it, can have it back. It returns the path that the file has then; "" if there is
// none.
func (f State) SetAside() string {
	aside := f.Path() + ".unread"
	if err := os.Rename(f.Path(), aside); err != nil {
		return ""
	}
	return aside
}

// moment returns the moment of at, which has to carry a monotonic reading. It returns nil if the
// uptime cannot be read; the clock then has nothing to be compared with.
func (f State) moment(at time.Time) *statefile.Moment {
	boot, up, err := f.Uptime()
	if err != nil {
		return nil
	}
	return &statefile.Moment{At: at.Round(0), Boot: boot, Up: up - time.Since(at)}
}

// clockSet returns by how much somebody set the clock since the state was written. Load moves all
// times by that, so that such a change ends nothing that has time left. It returns 0 if the machine
// has booted since, because the uptimes cannot be compared then.
func (f State) clockSet(written *statefile.Moment) time.Duration {
	now := f.moment(time.Now())
	if written == nil || now == nil || written.Boot != now.Boot {
		return 0
	}
	set := now.At.Sub(written.At) - (now.Up - written.Up)
	if set.Abs() < time.Second {
		return 0 // so small a difference is the clock's drift
	}
	return set
}

// Save replaces the file. After a crash the file is the old one or the new one, whole. Save waits
// for the disk, so the daemon's loop must not call it.
func (f State) Save(s engine.Saved) error {
	err := replaceFile(f.Path(), func(w io.Writer) error {
		return statefile.Encode(w, s, f.moment(s.At))
	})
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}
