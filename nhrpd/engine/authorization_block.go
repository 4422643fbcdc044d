package engine

import (
	"cmp"
	"fmt"
	"time"

	"cygnet/nhrpd/engine/timers"
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
		list = append(list, Block{Identity: b.identity, Since: b.since, Until: b.ends})
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
		b = &block{identity: ev.Identity, since: ev.Since}
		if b.since.IsZero() {
			b.since = e.now
		}
		b.expiry.Run = func() { e.blockDue(b) }
		e.blocks[key] = b
	}
	b.ends = ev.Until
	e.scheduleBlock(b)
	e.out.Notices = append(e.out.Notices, Notice{Kind: NoticeBlocked, Identity: b.identity, Reason: fmt.Sprintf("blocked%s", b.until())})
	e.reviewAuthorizations()
}

// blockLook is how long a block with an end is not looked at: that of an earlier run ends by the
// clock, which may be set meanwhile.
const blockLook = time.Minute

func (e *Engine) scheduleBlock(b *block) {
	if b.ends.IsZero() {
		e.timers.Stop(&b.expiry)
		return
	}
	e.timers.Set(&b.expiry, e.now.Add(min(b.ends.Sub(e.now), blockLook)))
}

func (e *Engine) blockDue(b *block) {
	if e.now.Before(b.ends) {
		e.scheduleBlock(b)
		return
	}
	e.unblock(b.identity, "its time is over")
}

func (e *Engine) unblock(identity, reason string) {
	key := policy.Canonical(identity)
	b := e.blocks[key]
	if b == nil {
		return
	}
	e.timers.Stop(&b.expiry)
	delete(e.blocks, key)
	e.out.Notices = append(e.out.Notices, Notice{Kind: NoticeUnblocked, Identity: b.identity, Reason: reason})
	e.reviewAuthorizations()
}

func (e *Engine) reviewAuthorizations() {
	for _, ifc := range e.interfaces() {
		if !ifc.left {
			e.reviewPolicy(ifc)
		}
	}
}

// block is an identity that the administrator shut out.
type block struct {
	identity string // as given
	since    time.Time
	ends     time.Time // zero: when it is taken back
	expiry   timers.Timer
}

func (b *block) until() string {
	if b.ends.IsZero() {
		return ""
	}
	return " until " + b.ends.UTC().Format(time.RFC3339)
}
