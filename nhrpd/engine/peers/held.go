package peers

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/timers"
)

// heldPacket is the last packet of a sender whose SA the engine has not heard of yet. A packet may
// arrive some milliseconds before the engine hears of the SA through which it came.
type heldPacket struct {
	data    []byte
	timeout timers.Timer
}

const (
	// HoldTime is how long a packet waits for its sender's SA before it is dropped.
	HoldTime = 3 * time.Second
	// MaxHeldLen is the length in bytes of the longest packet that is held. Longer packets are
	// dropped at once.
	MaxHeldLen = 2048
)

// Hold keeps a packet until its sender has an SA. It replaces an earlier packet of the same sender.
// It copies data.
func (ps *Table) Hold(from netip.Addr, data []byte) {
	h := ps.held[from]
	switch {
	case len(data) > MaxHeldLen:
		ps.Drop(overlay.DropUnsecured)
		return
	case h != nil:
		ps.Drop(overlay.DropUnsecured) // the earlier packet
	case len(ps.held) >= ps.Config.Limits.Held:
		ps.Drop(overlay.DropHeldFull)
		return
	default:
		h = &heldPacket{}
		h.timeout.Run = func() {
			delete(ps.held, from)
			ps.Drop(overlay.DropUnsecured)
		}
		ps.held[from] = h
	}
	h.data = append(h.data[:0], data...)
	ps.Timers.Set(&h.timeout, ps.Now.Add(HoldTime))
}

// replay handles the packet that was held for a sender, if one was.
func (ps *Table) replay(from netip.Addr) {
	h := ps.held[from]
	if h == nil {
		return
	}
	ps.Timers.Stop(&h.timeout)
	delete(ps.held, from)
	ps.parts.ReceivedFrom(from, h.data)
}

// DropHeld drops the packet that is held for a sender: the next SA at the sender's address may be
// another router's.
func (ps *Table) DropHeld(from netip.Addr, reason overlay.DropReason) {
	if h := ps.held[from]; h != nil {
		ps.Timers.Stop(&h.timeout)
		delete(ps.held, from)
		ps.Drop(reason)
	}
}

// ForgetHeld forgets all held packets, because the interface leaves. It counts no drops.
func (ps *Table) ForgetHeld() {
	for from, h := range ps.held {
		ps.Timers.Stop(&h.timeout)
		delete(ps.held, from)
	}
}

// HeldSenders returns the senders of which a packet is held, in order.
func (ps *Table) HeldSenders() []netip.Addr {
	return slices.SortedFunc(maps.Keys(ps.held), ordered.ByAddr)
}
