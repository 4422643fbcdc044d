package engine

import (
	"cmp"
	"fmt"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/policy"
)

// Block shuts an identity out of all interfaces at once. The engine ends what the identity
// registered, takes that back from the routers that learned of it, and closes the identity's SAs.
// It accepts nothing more from the identity until Unblock, or until the time in Until.
type Block struct {
	Identity string
	Since    time.Time // zero: now
	Until    time.Time // zero: until Unblock
}

// Unblock ends a Block. The engine restores nothing: the identity registers and asks again, like
// any other router.
type Unblock struct{ Identity string }

func (Block) event()   {}
func (Unblock) event() {}

// MaxBlocked is how many identities may be blocked at a time.
const MaxBlocked = 10000

// Blocked returns a Block for each identity that is blocked, ordered by identity. Since is always
// set.
func (e *Engine) Blocked() []Block {
	var list []Block
	for _, b := range inOrder(e.blocks, cmp.Compare[string]) {
		list = append(list, Block{Identity: b.Identity, Since: b.Since, Until: b.Ends})
	}
	return list
}

// block blocks an identity. If the identity is blocked already, block only changes when the block
// ends.
func (e *Engine) block(ev Block) {
	key := policy.Canonical(ev.Identity)
	b := e.blocks[key]
	switch {
	case key == "" || b == nil && len(e.blocks) >= MaxBlocked:
		return
	case b == nil:
		b = &authorization.Block{Identity: ev.Identity, Since: ev.Since}
		if b.Since.IsZero() {
			b.Since = e.now
		}
		b.Expiry.Run = func() { e.blockDue(b) }
		e.blocks[key] = b
	}
	b.Ends = ev.Until
	e.scheduleBlock(b)
	e.out.Notices = append(e.out.Notices, Notice{Kind: NoticeBlocked, Identity: b.Identity,
		Reason: fmt.Sprintf("blocked%s", b.Until())})
	e.reviewAuthorizations()
}

// blockLook is how often the engine compares the end of a block with the clock. The end of a block
// that an earlier run saved is a time of the wall clock, and that clock may be set meanwhile.
const blockLook = time.Minute

// scheduleBlock sets when the engine next compares the end of a block with the clock.
func (e *Engine) scheduleBlock(b *authorization.Block) {
	if b.Ends.IsZero() {
		e.timers.Stop(&b.Expiry)
		return
	}
	e.timers.Set(&b.Expiry, e.now.Add(min(b.Ends.Sub(e.now), blockLook)))
}

// blockDue ends a block whose time is over, and otherwise waits on.
func (e *Engine) blockDue(b *authorization.Block) {
	if e.now.Before(b.Ends) {
		e.scheduleBlock(b)
		return
	}
	e.unblock(b.Identity, "its time is over")
}

// unblock ends the block of an identity, if it has one.
func (e *Engine) unblock(identity, reason string) {
	key := policy.Canonical(identity)
	b := e.blocks[key]
	if b == nil {
		return
	}
	e.timers.Stop(&b.Expiry)
	delete(e.blocks, key)
	e.out.Notices = append(e.out.Notices,
		Notice{Kind: NoticeUnblocked, Identity: b.Identity, Reason: reason})
	e.reviewAuthorizations()
}

// reviewAuthorizations applies changed blocks on every interface that has not left.
func (e *Engine) reviewAuthorizations() {
	for _, ifc := range e.interfaces() {
		if !ifc.left {
			e.reviewPolicy(ifc)
		}
	}
}
