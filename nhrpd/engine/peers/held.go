package peers

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/timers"
)

// heldPacket is the last packet of a sender whose SA the engine has not heard of yet. A packet may
// arrive some milliseconds before the engine hears of the SA through which it came.
type heldPacket struct {
	data    []byte
	Timeout timers.Timer
}

const (
	HoldTime   = 3 * time.Second // after so long without the sender's SA a packet is dropped
	MaxHeldLen = 2048            // longer packets are dropped at once
)

// Hold keeps a packet until its sender has an SA. It replaces an earlier packet of the same sender.
func (ps *Table) Hold(from netip.Addr, data []byte) {
	h := ps.Held[from]
	switch {
	case len(data) > MaxHeldLen:
		ps.Drop(overlay.DropUnsecured)
		return
	case h != nil:
		ps.Drop(overlay.DropUnsecured) // the earlier packet
	case len(ps.Held) >= ps.Config.Limits.Held:
		ps.Drop(overlay.DropHeldFull)
		return
	default:
		h = &heldPacket{}
		h.Timeout.Run = func() {
			delete(ps.Held, from)
			ps.Drop(overlay.DropUnsecured)
		}
		ps.Held[from] = h
	}
	h.data = append(h.data[:0], data...)
	ps.Timers.Set(&h.Timeout, ps.Now.Add(HoldTime))
}

// replay handles the packet that was held for a sender, if one was.
func (ps *Table) replay(from netip.Addr) {
	h := ps.Held[from]
	if h == nil {
		return
	}
	ps.Timers.Stop(&h.Timeout)
	delete(ps.Held, from)
	ps.parts.ReceivedFrom(from, h.data)
}

// DropHeld drops the packet that is held for a sender: the next SA at the sender's address may be
// another router's.
func (ps *Table) DropHeld(from netip.Addr, reason overlay.DropReason) {
	if h := ps.Held[from]; h != nil {
		ps.Timers.Stop(&h.Timeout)
		delete(ps.Held, from)
		ps.Drop(reason)
	}
}
