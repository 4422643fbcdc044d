package nhrpd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/policy"
)

// blockedFile keeps who is blocked. It is apart from the saved state, which may be lost without harm.
type blockedFile struct{ dir string }

func (f blockedFile) path() string { return filepath.Join(f.dir, "blocked.json") }

// load returns nobody and no error where there is no file yet.
func (f blockedFile) load() ([]engine.Block, error) {
	data, err := os.ReadFile(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read who is blocked: %w", err)
	}
	var blocked []engine.Block
	if err := json.Unmarshal(data, &blocked); err != nil {
		return nil, fmt.Errorf("read who is blocked in %s: %w; remove the file to start with nobody blocked", f.path(), err)
	}
	return blocked, nil
}

// save replaces the file at once, and returns when it is on the disk.
func (f blockedFile) save(blocked []engine.Block) error {
	data, err := json.MarshalIndent(blocked, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(f.path(), func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}

// blockKnown blocks whom an earlier run had blocked. It runs on the loop, before anything of theirs is restored.
func (d *Daemon) blockKnown(now time.Time, blocked []engine.Block) {
	for _, b := range blocked {
		if b.Until.IsZero() || b.Until.After(now) {
			d.loop.engine.Handle(now, b, &d.loop.out)
		}
	}
}

// longestIdentity is far above what a distinguished name has.
const longestIdentity = 1024

// Block shuts an identity out; see api.Daemon.
func (d *Daemon) Block(ctx context.Context, identity string, length time.Duration) error {
	if policy.Canonical(identity) == "" || len(identity) > longestIdentity || strings.ContainsFunc(identity, unicode.IsControl) {
		return fmt.Errorf("block %q: it cannot be an IKE identity (%w)", identity, api.ErrRefused)
	}
	return d.changeBlocked(ctx, func(now time.Time) error {
		b := engine.Block{Identity: identity}
		if length > 0 {
			b.Until = now.Add(length)
		}
		if !d.isBlocked(identity) && len(d.loop.engine.Blocked()) >= engine.MaxBlocked {
			return fmt.Errorf("block %s: %d identities are blocked, no more can be (%w)", identity, engine.MaxBlocked, api.ErrRefused)
		}
		d.loop.engine.Handle(now, b, &d.loop.out)
		return nil
	})
}

// Unblock takes a block back; see api.Daemon.
func (d *Daemon) Unblock(ctx context.Context, identity string) error {
	return d.changeBlocked(ctx, func(now time.Time) error {
		if !d.isBlocked(identity) {
			return fmt.Errorf("unblock %s: it is not blocked (%w)", identity, api.ErrRefused)
		}
		d.loop.engine.Handle(now, engine.Unblock{Identity: identity}, &d.loop.out)
		return nil
	})
}

// isBlocked runs on the loop.
func (d *Daemon) isBlocked(identity string) bool {
	for _, b := range d.loop.engine.Blocked() {
		if policy.Canonical(b.Identity) == policy.Canonical(identity) {
			return true
		}
	}
	return false
}

// changeBlocked changes who is blocked and saves it. Changes are made one after the other, so that the last one is what is saved.
func (d *Daemon) changeBlocked(ctx context.Context, change func(time.Time) error) error {
	d.blocking.Lock()
	defer d.blocking.Unlock()
	var blocked []engine.Block
	var refused error
	err := d.loop.call(ctx, func(now time.Time) {
		refused = change(now)
		blocked = d.loop.engine.Blocked()
	})
	if err != nil {
		return err // the loop may still be at it: nothing of it is read
	}
	if refused != nil {
		return refused
	}
	if err := d.blocked.save(blocked); err != nil {
		return fmt.Errorf("it is done, but a restart will not know it: %w", err)
	}
	return nil
}

func blockedStatus(b engine.Block) api.Blocked { return api.Blocked(b) }
