package peers

import (
	"maps"
	"slices"
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
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

// Held are the packets that wait for their senders' SAs, at most one of each sender.
type Held struct {
	*overlay.Interface

	bySender map[peerid.ID]*heldPacket // by sender
}

// Add keeps a packet until its sender has an SA. It replaces an earlier packet of the same sender.
// It copies data.
func (held *Held) Add(from peerid.ID, data []byte) {
	h := held.bySender[from]
	switch {
	case len(data) > MaxHeldLen:
		held.Drop(overlay.DropUnsecured)
		return
	case h != nil:
		held.Drop(overlay.DropUnsecured) // the earlier packet
	case len(held.bySender) >= held.Config.Limits.Held:
		held.Drop(overlay.DropHeldFull)
		return
	default:
		h = &heldPacket{}
		h.timeout.Run = func() {
			delete(held.bySender, from)
			held.Drop(overlay.DropUnsecured)
		}
		held.bySender[from] = h
	}
	h.data = append(h.data[:0], data...)
	held.Timers.Set(&h.timeout, held.Now.Add(HoldTime))
}

// take returns the packet that is held for a sender, and holds it no longer. It returns false if
// there is none.
func (held *Held) take(from peerid.ID) ([]byte, bool) {
	h := held.bySender[from]
	if h == nil {
		return nil, false
	}
	held.Timers.Stop(&h.timeout)
	delete(held.bySender, from)
	return h.data, true
}

// Discard drops the packet that is held for a sender, if there is one: the next SA at the sender's
// address may be another router's.
func (held *Held) Discard(from peerid.ID, reason overlay.DropReason) {
	if _, is := held.take(from); is {
		held.Drop(reason)
	}
}

// Forget forgets all held packets, because the interface leaves. It counts no drop.
func (held *Held) Forget() {
	for from, h := range held.bySender {
		held.Timers.Stop(&h.timeout)
		delete(held.bySender, from)
	}
}

// Count returns how many packets are held.
func (held *Held) Count() int { return len(held.bySender) }

// Senders returns the senders of which a packet is held, in order.
func (held *Held) Senders() []peerid.ID {
	return slices.SortedFunc(maps.Keys(held.bySender), peerid.ID.Compare)
}
