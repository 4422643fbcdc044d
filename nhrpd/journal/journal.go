// Package journal keeps the last events of the daemon.
//
// A journal is bounded twice: it keeps Limit events in all, and Share events about one peer. A peer
// that loses its SA every second therefore replaces its own events and not those of the others. The
// package does no I/O, reads no clock and has no locks.
package journal

import (
	"net/netip"
	"strings"
	"time"

	"cygnet/nhrpd/api"
)

// The bounds of a journal.
const (
	Limit = 8192 // events in all
	Share = 128  // events about one peer

	// longestText is how many bytes of a text a journal keeps.
	longestText = 1024
)

// Journal has the last events, in the order in which they happened.
type Journal struct {
	limit, share int

	last    uint64 // the number of the last event
	kept    int
	first   *entry // the oldest that is kept
	newest  *entry
	evicted time.Time // of the last event that was dropped because of the limit

	peers map[peerKey]*history
}

// entry is one event, in the list of all events and in that of its peer.
type entry struct {
	event         api.Event
	before, after *entry
	sameAfter     *entry // the next event about the same peer
	of            *history
}

// peerKey is the peer whose share an event counts against: an identity or, without one, an underlay
// address. Events about no peer have one share together.
type peerKey struct {
	iface, identity string
	nbma            netip.Addr
}

// history has the events about one peer.
type history struct {
	first, newest *entry
	kept          int
	flaps         flaps
}

// New returns an empty journal that keeps limit events, and share events about one peer.
func New(limit, share int) *Journal {
	return &Journal{limit: limit, share: share, peers: make(map[peerKey]*history)}
}

// Last returns the number of the last event; 0 if there was none.
func (j *Journal) Last() uint64 { return j.last }

// Kept returns how many events the journal has.
func (j *Journal) Kept() int { return j.kept }

// Add gives an event the next number and keeps it.
func (j *Journal) Add(e api.Event) {
	j.last++
	e.Number = j.last
	e.Text, e.Reason, e.Identity = cut(e.Text), cut(e.Reason), cut(e.Identity)
	h := j.historyOf(keyOf(&e))
	if e.Event == api.EventPeerLost {
		h.flaps.add(e.Time)
	}
	j.append(&entry{event: e, of: h})
	if h.kept > j.share {
		j.remove(h.first)
	}
	if j.kept > j.limit {
		j.evicted = j.first.event.Time
		j.remove(j.first)
	}
}

// CountFlap counts that a peer lost its SA, for an event that the journal does not keep because
// there were too many about the peer.
func (j *Journal) CountFlap(e *api.Event) {
	if h := j.peers[keyOf(e)]; h != nil {
		h.flaps.add(e.Time)
	}
}

// Flaps returns how often a peer lost its SA in the hour before now.
func (j *Journal) Flaps(iface, identity string, nbma netip.Addr, now time.Time) int {
	h := j.peers[key(iface, identity, nbma)]
	if h == nil {
		return 0
	}
	return h.flaps.count(now)
}

// After appends to dst the events with numbers above n, at most most of them. It also returns the
// number up to which the reader has got everything that the journal has, and how many events up to
// there the journal has lost.
func (j *Journal) After(
	n uint64, most int, dst []api.Event,
) (events []api.Event, upTo, missing uint64) {
	e := j.newest
	if e == nil || e.event.Number <= n {
		return dst, j.last, j.last - min(n, j.last)
	}
	for e.before != nil && e.before.event.Number > n {
		e = e.before
	}
	upTo = n
	got := uint64(0)
	for ; e != nil && got < uint64(most); e = e.after {
		dst = append(dst, e.event)
		upTo = e.event.Number
		got++
	}
	if e == nil {
		upTo = j.last
	}
	return dst, upTo, upTo - n - got
}

// Since returns the number of the last event before a time, so that After returns what happened
// from then on. It also reports whether the journal has lost events of that time or later because
// of its limit.
func (j *Journal) Since(t time.Time) (n uint64, lost bool) {
	n = j.last
	for e := j.newest; e != nil && !e.event.Time.Before(t); e = e.before {
		n = e.event.Number - 1
	}
	return n, !j.evicted.IsZero() && !j.evicted.Before(t)
}

// append puts an entry at the ends of both of its lists.
func (j *Journal) append(e *entry) {
	e.before = j.newest
	if j.newest == nil {
		j.first = e
	} else {
		j.newest.after = e
	}
	j.newest = e
	j.kept++
	h := e.of
	if h.newest == nil {
		h.first = e
	} else {
		h.newest.sameAfter = e
	}
	h.newest = e
	h.kept++
}

// remove forgets an entry, which is the oldest one about its peer.
func (j *Journal) remove(e *entry) {
	if e.before == nil {
		j.first = e.after
	} else {
		e.before.after = e.after
	}
	if e.after == nil {
		j.newest = e.before
	} else {
		e.after.before = e.before
	}
	j.kept--
	h := e.of
	h.first = e.sameAfter
	h.kept--
	if h.kept == 0 {
		delete(j.peers, keyOf(&e.event))
	}
}

// historyOf returns the history of a peer, a new one if there is none.
func (j *Journal) historyOf(k peerKey) *history {
	h := j.peers[k]
	if h == nil {
		h = &history{}
		j.peers[k] = h
	}
	return h
}

// keyOf returns the peer that an event is about.
func keyOf(e *api.Event) peerKey { return key(e.Interface, e.Identity, e.NBMA) }

// key returns the key of a peer. charon takes identities that differ in case for the same.
func key(iface, identity string, nbma netip.Addr) peerKey {
	switch {
	case identity != "":
		return peerKey{iface: iface, identity: strings.ToLower(cut(identity))}
	case nbma.IsValid():
		return peerKey{iface: iface, nbma: nbma}
	}
	return peerKey{}
}

// cut shortens a text that others may choose.
func cut(s string) string {
	if len(s) <= longestText {
		return s
	}
	return strings.ToValidUTF8(s[:longestText], "") + "…"
}
