// Package hostcheck repeats the checks of package preflight while the daemon runs, since
// certificates expire and others change routes and settings.
package hostcheck

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"cygnet/nhrpd/preflight"
)

// Watch repeats one check. It keeps what the last run of the check found, and logs each finding
// when it is new.
type Watch struct {
	log   *slog.Logger
	again chan struct{} // holds a value if the check is due now

	mu    sync.Mutex // guards found
	found []preflight.Finding
}

// NewWatch returns a Watch without findings.
func NewWatch(log *slog.Logger) *Watch {
	return &Watch{log: log, again: make(chan struct{}, 1)}
}

// Run runs the check at once, then after each interval and after each CheckAgain, until the context
// ends or check returns an error. logged reports whether a new finding is logged.
func (w *Watch) Run(
	ctx context.Context,
	interval time.Duration,
	check func(context.Context) ([]preflight.Finding, error),
	logged func(preflight.Finding) bool,
) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		found, err := check(ctx)
		if err != nil {
			return err
		}
		for _, f := range w.set(found) {
			if logged(f) {
				w.log.Warn(f.String())
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-w.again:
		}
	}
}

// Findings returns what the last run of the check found.
func (w *Watch) Findings() []preflight.Finding {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.found)
}

// CheckAgain has Run run the check soon.
func (w *Watch) CheckAgain() {
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// set records what the check found, and returns those findings that the run before did not have.
func (w *Watch) set(found []preflight.Finding) (fresh []preflight.Finding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range found {
		if !slices.Contains(w.found, f) {
			fresh = append(fresh, f)
		}
	}
	w.found = found
	return fresh
}
