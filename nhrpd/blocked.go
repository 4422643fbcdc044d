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
	"sync"
	"time"
	"unicode"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/policy"
)

// blockedFile is the file that keeps who is blocked. It is not part of the saved state: the saved
// state may be lost without harm, and the blocks may not.
type blockedFile struct{ dir string }

// blockRecord is the entry of one identity in the file. Its names are those of the file: they must
// not change, since a block must not be lost in an upgrade.
type blockRecord struct {
	Identity string    `json:"Identity"`
	Since    time.Time `json:"Since"` // when the block began
	Until    time.Time `json:"Until"` // when it ends; zero: it lasts until it is taken back
}

// path returns the path of the file.
func (f blockedFile) path() string { return filepath.Join(f.dir, "blocked.json") }

// load returns who is blocked. It returns nobody and no error if there is no file yet.
func (f blockedFile) load() ([]engine.Block, error) {
	data, err := os.ReadFile(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read who is blocked: %w", err)
	}
	var records []blockRecord
	if err := json.Unmarshal(data, &records); err != nil {
		return nil, fmt.Errorf("read who is blocked in %s: %w; remove the file to start with nobody blocked",
			f.path(), err)
	}
	blocked := make([]engine.Block, 0, len(records))
	for _, r := range records {
		blocked = append(blocked, engine.Block(r))
	}
	return blocked, nil
}

// save replaces the file, and returns when the new one is on the disk, or with an error.
func (f blockedFile) save(blocked []engine.Block) error {
	records := make([]blockRecord, 0, len(blocked))
	for _, b := range blocked {
		records = append(records, blockRecord(b))
	}
	data, err := json.MarshalIndent(records, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(f.path(), func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}

// blocks is who is blocked. The engine has the list, and the file keeps it.
type blocks struct {
	blockedFile
	loop     *loop
	changing sync.Mutex // held while one caller changes the list and saves it
}

// restore gives the engine the blocks of an earlier run, except those that have ended. It runs on
// the loop, before the engine restores anything of a blocked identity.
func (b *blocks) restore(now time.Time, blocked []engine.Block) {
	for _, block := range blocked {
		if block.Until.IsZero() || block.Until.After(now) {
			b.loop.engine.Handle(now, block, &b.loop.out)
		}
	}
}

// longestIdentity is the longest identity that Block takes, in bytes. Distinguished names are far
// shorter.
const longestIdentity = 1024

// Block shuts an identity out, for a length of time or, with 0, until Unblock. It returns an error
// if the identity cannot be one of IKE or if too many are blocked; see api.Daemon.
func (d *Daemon) Block(ctx context.Context, identity string, length time.Duration) error {
	return d.blocks.add(ctx, identity, length)
}

// Unblock takes a block back. It returns an error if the identity is not blocked; see api.Daemon.
func (d *Daemon) Unblock(ctx context.Context, identity string) error {
	return d.blocks.remove(ctx, identity)
}

// add blocks an identity; see Block.
func (b *blocks) add(ctx context.Context, identity string, length time.Duration) error {
	if policy.Canonical(identity) == "" ||
		len(identity) > longestIdentity ||
		strings.ContainsFunc(identity, unicode.IsControl) {
		return fmt.Errorf("block %q: it cannot be an IKE identity (%w)", identity, api.ErrRefused)
	}
	return b.change(ctx, func(now time.Time) error {
		block := engine.Block{Identity: identity}
		if length > 0 {
			block.Until = now.Add(length)
		}
		if !b.has(identity) && len(b.loop.engine.Blocked()) >= engine.MaxBlocked {
			return fmt.Errorf("block %s: %d identities are blocked, no more can be (%w)",
				identity, engine.MaxBlocked, api.ErrRefused)
		}
		b.loop.engine.Handle(now, block, &b.loop.out)
		return nil
	})
}

// remove takes a block back; see Unblock.
func (b *blocks) remove(ctx context.Context, identity string) error {
	return b.change(ctx, func(now time.Time) error {
		if !b.has(identity) {
			return fmt.Errorf("unblock %s: it is not blocked (%w)", identity, api.ErrRefused)
		}
		b.loop.engine.Handle(now, engine.Unblock{Identity: identity}, &b.loop.out)
		return nil
	})
}

// has reports whether the identity is blocked. It runs on the loop.
func (b *blocks) has(identity string) bool {
	for _, block := range b.loop.engine.Blocked() {
		if policy.Canonical(block.Identity) == policy.Canonical(identity) {
			return true
		}
	}
	return false
}

// change has f change who is blocked, on the loop, and saves the result. It allows one change at a
// time; otherwise an older list could be saved after a newer one.
func (b *blocks) change(ctx context.Context, f func(time.Time) error) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	var blocked []engine.Block
	var refused error
	err := b.loop.call(ctx, func(now time.Time) {
		refused = f(now)
		blocked = b.loop.engine.Blocked()
	})
	if err != nil {
		return err // the loop may still run the function, so its results must not be read
	}
	if refused != nil {
		return refused
	}
	if err := b.save(blocked); err != nil {
		return fmt.Errorf("it is done, but a restart will not know it: %w", err)
	}
	return nil
}
