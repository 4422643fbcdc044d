package nhrpd

import (
	"context"
	"log/slog"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/histogram"
	"cygnet/nhrpd/problem"
	"cygnet/nhrpd/statedir"
	"cygnet/nhrpd/wait"
)

// These times bound how far the saved state may lag behind the engine.
//
// A change that the engine reports (engine.Output.StateChanged) is saved after saveDelay, together
// with the other changes of that time. Refreshed expiry times are saved once every saveAll.
//
// Writing an entry takes some microseconds, so on a large hub a save takes long, and the next one
// waits saveEach for each entry that was saved. Up to 10,000 entries no wait is longer than
// saveLate: a power cut then costs the changes of the last second at most, for a tenth of a
// processor. With more entries the wait is saveCost for each, and saveLongest at most. The wait
// depends on the number of entries and not on how long the save took: on a busy machine or a slow
// disk, a measured time would make the wait so long that a restart knew too little.
const (
	saveDelay   = 50 * time.Millisecond
	saveAll     = time.Minute
	saveEach    = time.Millisecond
	saveLate    = 800 * time.Millisecond
	saveCost    = 80 * time.Microsecond
	saveLongest = 5 * time.Second
)

// saveRest returns how long to wait after a save of that many entries before the next save.
func saveRest(entries int) time.Duration {
	n := time.Duration(entries)
	return min(max(min(n*saveEach, saveLate), n*saveCost), saveLongest)
}

// stateKeeper keeps the state of the engine in the file.
type stateKeeper struct {
	file     statedir.State
	loop     *loop
	problems *problem.List
	log      *slog.Logger
	took     histogram.Histogram // how long saves took
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
	begun := time.Now()
	err := k.file.Save(s)
	k.took.Add(time.Since(begun))
	if err == nil {
		k.problems.Resolve(problem.Key{Code: api.ProblemState, Subject: k.file.Dir})
		return
	}
	k.log.Warn("a restart will not know the peers of now", "error", err)
	k.problems.Report(api.Problem{
		Code:     api.ProblemState,
		Severity: api.SeverityWarning,
		Subject:  k.file.Dir,
		Text:     "a restart will not know the peers of now: " + err.Error(),
		Remedy:   "see that " + k.file.Dir + " can be written and has room",
	})
}
