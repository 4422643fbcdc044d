package nhrpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/problem"
	"cygnet/nhrpd/statefile"
	"cygnet/nhrpd/wait"
)

// stateFile is the file that tells a restarted daemon what the last run knew of other routers:
// registrations, bindings, shortcuts, answers, and who owns which overlay address. A lost file
// costs one registration of every peer. The package statefile has the format.
type stateFile struct {
	dir    string
	uptime func() (boot string, up time.Duration, err error)
}

// path returns the path of the file.
func (f stateFile) path() string { return filepath.Join(f.dir, "state.json") }

// load reads the file. It returns no state and no error if there is no file yet.
func (f stateFile) load() (engine.Saved, error) {
	file, err := os.Open(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return engine.Saved{}, nil
	}
	if err != nil {
		return engine.Saved{}, fmt.Errorf("read saved state: %w", err)
	}
	defer file.Close()
	saved, written, err := statefile.Decode(file)
	if err != nil {
		return engine.Saved{}, fmt.Errorf("read saved state %s: %w", f.path(), err)
	}
	saved.Shift(f.clockSet(written))
	return saved, nil
}

// moment returns the moment of at, which has to carry a monotonic reading. It returns nil if the
// uptime cannot be read; the clock then has nothing to be compared with.
func (f stateFile) moment(at time.Time) *statefile.Moment {
	boot, up, err := f.uptime()
	if err != nil {
		return nil
	}
	return &statefile.Moment{At: at.Round(0), Boot: boot, Up: up - time.Since(at)}
}

// clockSet returns by how much somebody set the clock since the state was written. load moves all
// times by that, so that such a change ends nothing that has time left. It returns 0 if the machine
// has booted since, because the uptimes cannot be compared then.
func (f stateFile) clockSet(written *statefile.Moment) time.Duration {
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

// save replaces the file. After a crash the file is the old one or the new one, whole. save waits
// for the disk, so the loop must not call it.
func (f stateFile) save(s engine.Saved) error {
	err := replaceFile(f.path(), func(w io.Writer) error {
		return statefile.Encode(w, s, f.moment(s.At))
	})
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// These times bound how far the saved state may lag behind the engine.
//
// A change that the engine reports (engine.Output.StateChanged) is saved after saveDelay, together
// with the other changes of that time. Refreshed expiry times are saved once every saveAll.
//
// Writing an entry takes some microseconds, so on a large hub a save takes long, and the next one
// waits saveEach for each entry that was saved, but at most saveLate. The wait depends on the
// number of entries and not on how long the save took: on a busy machine or a slow disk, a measured
// time would make the wait so long that a restart knew too little.
const (
	saveDelay = 50 * time.Millisecond
	saveAll   = time.Minute
	saveEach  = time.Millisecond
	saveLate  = 5 * time.Second
)

// saveRest returns how long to wait after a save of that many entries before the next save.
func saveRest(entries int) time.Duration {
	return min(time.Duration(entries)*saveEach, saveLate)
}

// stateKeeper keeps the state of the engine in the file.
type stateKeeper struct {
	stateFile
	loop     *loop
	problems *problem.List
	log      *slog.Logger
}

// keep saves the state after it has changed.
func (k *stateKeeper) keep(ctx context.Context) error {
	refreshes := time.NewTicker(saveAll)
	defer refreshes.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.loop.urgent:
			if !wait.For(ctx, saveDelay) {
				return nil
			}
		case <-refreshes.C:
		}
		entries, err := k.saveChanged(ctx)
		if err != nil || !wait.For(ctx, saveRest(entries)) {
			return nil
		}
	}
}

// saveSoon has the state saved after saveDelay. It runs on the loop.
func (l *loop) saveSoon() {
	l.dirty = true
	select {
	case l.urgent <- struct{}{}:
	default:
	}
}

// saveChanged saves the state if it changed, and returns how many entries it saved. It returns an
// error only if the context ends.
func (k *stateKeeper) saveChanged(ctx context.Context) (entries int, err error) {
	var saved engine.Saved
	var changed bool
	err = k.loop.call(ctx, func(time.Time) {
		select {
		case <-k.loop.urgent: // another change came; this save has it too
		default:
		}
		if changed = k.loop.dirty; changed {
			saved, k.loop.dirty = k.loop.engine.Save(), false
		}
	})
	if err != nil || !changed {
		return 0, err
	}
	k.saveOrReport(saved)
	for _, ifc := range saved.Interfaces {
		entries += len(ifc.Bindings) + len(ifc.Shortcuts) + len(ifc.Answers)
	}
	return entries, nil
}

// saveLast saves the state after the loop has ended. Then no other goroutine uses the engine, so
// saveLast may read the engine itself.
func (k *stateKeeper) saveLast() { k.saveOrReport(k.loop.engine.Save()) }

// saveOrReport saves s, and reports a problem for as long as that fails.
func (k *stateKeeper) saveOrReport(s engine.Saved) {
	err := k.save(s)
	if err == nil {
		k.problems.Resolve(problem.Key{Code: api.ProblemState, Subject: k.dir})
		return
	}
	k.log.Warn("a restart will not know the peers of now", "error", err)
	k.problems.Report(api.Problem{
		Code:     api.ProblemState,
		Severity: api.SeverityWarning,
		Subject:  k.dir,
		Text:     "a restart will not know the peers of now: " + err.Error(),
		Remedy:   "see that " + k.dir + " can be written and has room",
	})
}
