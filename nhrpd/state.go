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

// How far the saved state may be behind: after a change of who is bound where, and after refreshes.
const (
	saveUrgent = 2 * time.Second
	saveAll    = time.Minute
)

// keepState saves the state when it changed.
func (d *Daemon) keepState(ctx context.Context) error {
	ticker := time.NewTicker(saveUrgent)
	defer ticker.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		var saved engine.Saved
		var due bool
		err := d.loop.call(ctx, func(now time.Time) {
			due = d.loop.urgent || d.loop.dirty && now.Sub(last) >= saveAll
			if !due {
				return
			}
			saved, last = d.loop.engine.Save(), now
			d.loop.urgent, d.loop.dirty = false, false
		})
		if err != nil {
			return nil
		}
		if due {
			d.save(saved)
		}
	}
}

// saveLast saves after the loop has ended, which makes the engine free to read.
func (d *Daemon) saveLast() { d.save(d.loop.engine.Save()) }

func (d *Daemon) save(s engine.Saved) {
	if err := d.state.save(s); err != nil {
		d.log.Warn("a restart will not know the peers of now", "error", err)
	}
}
