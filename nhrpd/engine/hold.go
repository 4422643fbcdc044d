package engine

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/timers"
)

// heldPacket is the last packet of somebody whose SA we have not heard of yet: the packet may
// overtake that message by some milliseconds.
type heldPacket struct {
	data    []byte
	timeout timers.Timer
}

const (
	holdTime   = 3 * time.Second
	maxHeldLen = 2048
)

func (e *Engine) hold(ifc *iface, from netip.Addr, data []byte) {
	h := ifc.held[from]
	switch {
	case len(data) > maxHeldLen:
		e.drop(dropUnsecured)
		return
	case h != nil:
		e.drop(dropUnsecured) // the one before
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

// replay handles what was held.
func (e *Engine) replay(ifc *iface, from netip.Addr) {
	h := ifc.held[from]
	if h == nil {
		return
	}
	e.timers.Stop(&h.timeout)
	delete(ifc.held, from)
	e.receiveFrom(ifc.cfg.Name, from, h.data)
}

// dropHeld drops a packet that waits for its sender's SA: the next SA may be another router's.
func (e *Engine) dropHeld(ifc *iface, from netip.Addr, reason dropReason) {
	if h := ifc.held[from]; h != nil {
		e.timers.Stop(&h.timeout)
		delete(ifc.held, from)
		e.drop(reason)
	}
}
