package nhrpd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
)

// stateFile keeps what a restart must know: the bindings and shortcuts of before. Losing it costs one registration of every peer.
type stateFile struct {
	dir    string
	uptime func() (boot string, up time.Duration, err error)
}

const stateVersion = 2

// stateRecord is one of the file's JSON values: at first the version, then the interfaces, each followed by its bindings. There are
// as many bindings as clients, so that none but the one being written or read is ever in memory as text.
type stateRecord struct {
	Version   int                    `json:",omitempty"`
	Written   *stateTime             `json:",omitempty"` // beside the version
	Interface *engine.SavedInterface `json:",omitempty"` // without its bindings
	Binding   *engine.BindingStatus  `json:",omitempty"` // of the interface before it
}

// stateTime is one moment by the clock and by what nobody can set, so that a clock that was set between two runs does not end what has
// time left.
type stateTime struct {
	At   time.Time
	Boot string
	Up   time.Duration
}

func (f stateFile) path() string { return filepath.Join(f.dir, "state.json") }

// load returns nothing and no error where there is no file yet.
func (f stateFile) load() (engine.Saved, error) {
	file, err := os.Open(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return engine.Saved{}, nil
	}
	if err != nil {
		return engine.Saved{}, fmt.Errorf("read saved state: %w", err)
	}
	defer file.Close()
	saved, written, err := readState(file)
	if err != nil {
		return engine.Saved{}, fmt.Errorf("read saved state %s: %w", f.path(), err)
	}
	saved.Shift(f.clockSet(written))
	return saved, nil
}

// moment is the stateTime of a time with a monotonic reading; nil: there is nothing to compare the clock with.
func (f stateFile) moment(at time.Time) *stateTime {
	boot, up, err := f.uptime()
	if err != nil {
		return nil
	}
	return &stateTime{At: at.Round(0), Boot: boot, Up: up - time.Since(at)}
}

// clockSet is by how much the clock was set since the state was written, as far as that can be told: in the same boot.
func (f stateFile) clockSet(written *stateTime) time.Duration {
	now := f.moment(time.Now())
	if written == nil || now == nil || written.Boot != now.Boot {
		return 0
	}
	set := now.At.Sub(written.At) - (now.Up - written.Up)
	if set.Abs() < time.Second {
		return 0 // it drifts
	}
	return set
}

func readState(r io.Reader) (saved engine.Saved, written *stateTime, err error) {
	decoder := json.NewDecoder(bufio.NewReader(r))
	for first := true; ; first = false {
		var record stateRecord
		err := decoder.Decode(&record)
		switch {
		case errors.Is(err, io.EOF) && !first:
			return saved, written, nil
		case err != nil:
			return engine.Saved{}, nil, err
		case first && record.Version != stateVersion:
			return engine.Saved{}, nil, fmt.Errorf("it is of version %d, this daemon reads %d", record.Version, stateVersion)
		case first:
			written = record.Written
		case record.Interface != nil:
			saved.Interfaces = append(saved.Interfaces, *record.Interface)
		case record.Binding != nil && len(saved.Interfaces) > 0:
			last := &saved.Interfaces[len(saved.Interfaces)-1]
			last.Bindings = append(last.Bindings, *record.Binding)
		}
	}
}

// save replaces the file: a crash leaves the old one or the new one. It waits for the disk, so the loop must not call it.
func (f stateFile) save(s engine.Saved) error {
	err := replaceFile(f.path(), func(w io.Writer) error { return encodeState(json.NewEncoder(w), s, f.moment(s.At)) })
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

func encodeState(encoder *json.Encoder, s engine.Saved, written *stateTime) error {
	if err := encoder.Encode(stateRecord{Version: stateVersion, Written: written}); err != nil {
		return err
	}
	for _, ifc := range s.Interfaces {
		bindings := ifc.Bindings
		ifc.Bindings = nil
		if err := encoder.Encode(stateRecord{Interface: &ifc}); err != nil {
			return err
		}
		for i := range bindings {
			if err := encoder.Encode(stateRecord{Binding: &bindings[i]}); err != nil {
				return err
			}
		}
	}
	return nil
}

// How far the saved state may be behind. A change of who is bound where is saved a moment later, together with what comes in that moment,
// and refreshes once a minute. On a large hub to save takes long, so that the next time is later, by how much there is to save: an entry
// takes some microseconds to write. It does not go by how long a save took, since a busy machine or a slow disk would then have a restart
// know too little.
const (
	saveDelay = 50 * time.Millisecond
	saveAll   = time.Minute
	saveEach  = time.Millisecond // for each entry nothing is saved after a save
	saveLate  = 5 * time.Second  // at most, in all
)

// saveRest is how long nothing is saved after a save of so many entries.
func saveRest(entries int) time.Duration {
	return min(time.Duration(entries)*saveEach, saveLate)
}

// keepState saves the state when it changed.
func (d *Daemon) keepState(ctx context.Context) error {
	refreshes := time.NewTicker(saveAll)
	defer refreshes.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.loop.urgent:
			if !pause(ctx, saveDelay) {
				return nil
			}
		case <-refreshes.C:
		}
		entries, err := d.saveChanged(ctx)
		if err != nil || !pause(ctx, saveRest(entries)) {
			return nil
		}
	}
}

// saveSoon has the state saved in a moment. It runs on the loop.
func (l *loop) saveSoon() {
	l.dirty = true
	select {
	case l.urgent <- struct{}{}:
	default:
	}
}

// saveChanged saves the state if it changed, and says how many entries it had. The only error is the context's end.
func (d *Daemon) saveChanged(ctx context.Context) (entries int, err error) {
	var saved engine.Saved
	var changed bool
	err = d.loop.call(ctx, func(time.Time) {
		select {
		case <-d.loop.urgent: // a further change: it is in what is saved now
		default:
		}
		if changed = d.loop.dirty; changed {
			saved, d.loop.dirty = d.loop.engine.Save(), false
		}
	})
	if err != nil || !changed {
		return 0, err
	}
	d.save(saved)
	for _, ifc := range saved.Interfaces {
		entries += len(ifc.Bindings) + len(ifc.Shortcuts) + len(ifc.Answers)
	}
	return entries, nil
}

// saveLast saves after the loop has ended, which makes the engine free to read.
func (d *Daemon) saveLast() { d.save(d.loop.engine.Save()) }

func (d *Daemon) save(s engine.Saved) {
	err := d.state.save(s)
	if err == nil {
		d.problems.resolve(api.ProblemState, "", d.state.dir)
		return
	}
	d.log.Warn("a restart will not know the peers of now", "error", err)
	d.problems.report(api.Problem{Code: api.ProblemState, Severity: api.SeverityWarning, Subject: d.state.dir,
		Text: "a restart will not know the peers of now: " + err.Error(), Remedy: "see that " + d.state.dir + " can be written and has room"})
}
