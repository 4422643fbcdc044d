package nhrpd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cygnet/nhrpd/engine"
)

// stateFile keeps what a restart must know: the bindings and shortcuts of before. Losing it costs one registration of every peer.
type stateFile struct{ dir string }

const stateVersion = 1

type stateContent struct {
	Version int
	Saved   engine.Saved
}

func (f stateFile) path() string { return filepath.Join(f.dir, "state.json") }

// load returns nothing and no error where there is no file yet.
func (f stateFile) load() (engine.Saved, error) {
	data, err := os.ReadFile(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return engine.Saved{}, nil
	}
	if err != nil {
		return engine.Saved{}, fmt.Errorf("read saved state: %w", err)
	}
	var content stateContent
	if err := json.Unmarshal(data, &content); err != nil {
		return engine.Saved{}, fmt.Errorf("read saved state %s: %w", f.path(), err)
	}
	if content.Version != stateVersion {
		return engine.Saved{}, fmt.Errorf("saved state %s is of version %d, this daemon reads %d", f.path(), content.Version, stateVersion)
	}
	return content.Saved, nil
}

// save replaces the file at once: a crash leaves the old one or the new one.
func (f stateFile) save(s engine.Saved) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	part := f.path() + ".part"
	if err := writeState(part, s); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	if err := os.Rename(part, f.path()); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// writeState encodes into the file, without a copy of all of it in between.
func writeState(path string, s engine.Saved) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = json.NewEncoder(file).Encode(stateContent{Version: stateVersion, Saved: s})
	return errors.Join(err, file.Close())
}

// How far the saved state may be behind. A change of who is bound where is saved a moment later, together with what comes in that moment,
// and refreshes once a minute. On a large hub to save takes long, so that the next time is as many times later.
const (
	saveDelay = 50 * time.Millisecond
	saveAll   = time.Minute
	saveShare = 20 // saving takes at most one part in so many of the time
)

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
		begun := time.Now()
		if err := d.saveChanged(ctx); err != nil || !pause(ctx, saveShare*time.Since(begun)) {
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

// saveChanged saves the state if it changed. The only error is the context's end.
func (d *Daemon) saveChanged(ctx context.Context) error {
	var saved engine.Saved
	var changed bool
	err := d.loop.call(ctx, func(time.Time) {
		select {
		case <-d.loop.urgent: // a further change: it is in what is saved now
		default:
		}
		if changed = d.loop.dirty; changed {
			saved, d.loop.dirty = d.loop.engine.Save(), false
		}
	})
	if err == nil && changed {
		d.save(saved)
	}
	return err
}

// saveLast saves after the loop has ended, which makes the engine free to read.
func (d *Daemon) saveLast() { d.save(d.loop.engine.Save()) }

func (d *Daemon) save(s engine.Saved) {
	if err := d.state.save(s); err != nil {
		d.log.Warn("a restart will not know the peers of now", "error", err)
	}
}
