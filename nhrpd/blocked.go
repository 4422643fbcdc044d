package nhrpd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/policy"
	"cygnet/nhrpd/statedir"
)

// blocks is who is blocked. The engine has the list, and the file keeps it.
type blocks struct {
	file     statedir.Blocked
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
	if err := b.file.Save(blocked); err != nil {
		return fmt.Errorf("it is done, but a restart will not know it: %w", err)
	}
	return nil
}
