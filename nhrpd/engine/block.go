package engine

import (
	"cmp"
	"fmt"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/policy"
)

// MaxBlocked is how many identities may be blocked at a time.
const MaxBlocked = 10000

// Blocked returns a Block for each identity that is blocked, ordered by identity. Since is always
// set.
func (e *Engine) Blocked() []event.Block {
	var list []event.Block
	for _, b := range ordered.Values(e.router.Blocks, cmp.Compare[string]) {
		list = append(list, event.Block{Identity: b.Identity, Since: b.Since, Until: b.Ends})
	}
	return list
}

// block blocks an identity. If the identity is blocked already, block only changes when the block
// ends.
func (e *Engine) block(ev event.Block) {
	key := policy.Canonical(ev.Identity)
	b := e.router.Blocks[key]
	switch {
	case key == "" || b == nil && len(e.router.Blocks) >= MaxBlocked:
		return
	case b == nil:
		b = &authorization.Block{Identity: ev.Identity, Since: ev.Since}
		if b.Since.IsZero() {
			b.Since = e.router.Now
		}
		b.Expiry.Run = func() { e.blockDue(b) }
		e.router.Blocks[key] = b
	}
	b.Ends = ev.Until
	e.scheduleBlock(b)
	e.router.Out.Notices = append(
		e.router.Out.Notices,
		output.Notice{Kind: output.NoticeBlocked, Identity: b.Identity,
			Reason: fmt.Sprintf("blocked%s", b.Until())},
	)
	e.reviewAuthorizations()
}

// blockLook is how often the engine compares the end of a block with the clock. The end of a block
// that an earlier run saved is a time of the wall clock, and that clock may be set meanwhile.
const blockLook = time.Minute

// scheduleBlock sets when the engine next compares the end of a block with the clock.
func (e *Engine) scheduleBlock(b *authorization.Block) {
	if b.Ends.IsZero() {
		e.router.Timers.Stop(&b.Expiry)
		return
	}
	e.router.Timers.Set(&b.Expiry, e.router.Now.Add(min(b.Ends.Sub(e.router.Now), blockLook)))
}

// blockDue ends a block whose time is over, and otherwise waits on.
func (e *Engine) blockDue(b *authorization.Block) {
	if e.router.Now.Before(b.Ends) {
		e.scheduleBlock(b)
		return
	}
	e.unblock(b.Identity, "its time is over")
}

// unblock ends the block of an identity, if it has one.
func (e *Engine) unblock(identity, reason string) {
	key := policy.Canonical(identity)
	b := e.router.Blocks[key]
	if b == nil {
		return
	}
	e.router.Timers.Stop(&b.Expiry)
	delete(e.router.Blocks, key)
	e.router.Out.Notices = append(e.router.Out.Notices,
		output.Notice{Kind: output.NoticeUnblocked, Identity: b.Identity, Reason: reason})
	e.reviewAuthorizations()
}

// reviewAuthorizations applies changed blocks on every interface that has not left.
func (e *Engine) reviewAuthorizations() {
	for _, ifc := range e.interfaces() {
		if !ifc.Left {
			ifc.reviewPolicy()
		}
	}
}
