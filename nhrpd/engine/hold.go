package engine

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/timers"
)

// heldPacket is the last packet of a sender whose SA the engine has not heard of yet. A packet may
// arrive some milliseconds before the engine hears of the SA through which it came.
type heldPacket struct {
	data    []byte
	timeout timers.Timer
}

const (
	holdTime   = 3 * time.Second // after so long without the sender's SA a packet is dropped
	maxHeldLen = 2048            // longer packets are dropped at once
)

// hold keeps a packet until its sender has an SA. It replaces an earlier packet of the same sender.
func (e *Engine) hold(ifc *iface, from netip.Addr, data []byte) {
	h := ifc.held[from]
	switch {
	case len(data) > maxHeldLen:
		e.drop(dropUnsecured)
		return
	case h != nil:
		e.drop(dropUnsecured) // the earlier packet
	case len(ifc.held) >= ifc.cfg.Limits.Held:
		e.drop(dropHeldFull)
		return
	default:
		h = &heldPacket{}
		h.timeout.Run = func() {
			delete(ifc.held, from)
			e.drop(dropUnsecured)
		}
		ifc.held[from] = h
	}
	h.data = append(h.data[:0], data...)
	e.timers.Set(&h.timeout, e.now.Add(holdTime))
}

// replay handles the packet that was held for a sender, if one was.
func (e *Engine) replay(ifc *iface, from netip.Addr) {
	h := ifc.held[from]
	if h == nil {
		return
	}
	e.timers.Stop(&h.timeout)
	delete(ifc.held, from)
	e.receiveFrom(ifc.cfg.Name, from, h.data)
}

// dropHeld drops the packet that is held for a sender: the next SA at the sender's address may be
// another router's.
func (e *Engine) dropHeld(ifc *iface, from netip.Addr, reason dropReason) {
	if h := ifc.held[from]; h != nil {
		e.timers.Stop(&h.timeout)
		delete(ifc.held, from)
		e.drop(reason)
	}
}
