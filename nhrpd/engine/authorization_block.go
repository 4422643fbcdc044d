package engine

import (
	"cmp"
	"fmt"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/policy"
)

// Block shuts an identity out of all interfaces at once: what it registered ends and is taken back
// where others were told of it, its SAs are closed, and nothing of it is taken until Unblock, or
// Until.
type Block struct {
	Identity string
	Since    time.Time // zero: now
	Until    time.Time // zero: until it is taken back
}

// Unblock takes a Block back. What the identity lost it gets as everybody does.
type Unblock struct{ Identity string }

func (Block) event()   {}
func (Unblock) event() {}

// MaxBlocked is how many identities may be blocked at a time.
const MaxBlocked = 10000

// Blocked lists who is blocked, in order. Each is as the Block that it came from, with Since filled
// in.
func (e *Engine) Blocked() []Block {
	var list []Block
	for _, b := range inOrder(e.blocks, cmp.Compare[string]) {
		list = append(list, Block{Identity: b.Identity, Since: b.Since, Until: b.Ends})
	}
	return list
}

// block blocks an identity, or changes how long it is blocked.
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
	e.out.Notices = append(e.out.Notices, Notice{Kind: NoticeBlocked, Identity: b.Identity, Reason: fmt.Sprintf("blocked%s", b.Until())})
	e.reviewAuthorizations()
}

// blockLook is how long a block with an end is not looked at: that of an earlier run ends by the
// clock, which may be set meanwhile.
const blockLook = time.Minute

func (e *Engine) scheduleBlock(b *authorization.Block) {
	if b.Ends.IsZero() {
		e.timers.Stop(&b.Expiry)
		return
	}
	e.timers.Set(&b.Expiry, e.now.Add(min(b.Ends.Sub(e.now), blockLook)))
}

func (e *Engine) blockDue(b *authorization.Block) {
	if e.now.Before(b.Ends) {
		e.scheduleBlock(b)
		return
	}
	e.unblock(b.Identity, "its time is over")
}

func (e *Engine) unblock(identity, reason string) {
	key := policy.Canonical(identity)
	b := e.blocks[key]
	if b == nil {
		return
	}
	e.timers.Stop(&b.Expiry)
	delete(e.blocks, key)
	e.out.Notices = append(e.out.Notices, Notice{Kind: NoticeUnblocked, Identity: b.Identity, Reason: reason})
	e.reviewAuthorizations()
}

func (e *Engine) reviewAuthorizations() {
	for _, ifc := range e.interfaces() {
		if !ifc.left {
			e.reviewPolicy(ifc)
		}
	}
}
