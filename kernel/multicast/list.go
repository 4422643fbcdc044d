package multicast

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// list is the wanted list of peers. Its order does not matter; a change moves one peer at most.
type list struct {
	peers   []Peer
	places  map[Peer]int // of each peer in peers
	changes uint64       // how often the list changed
}

// change carries out changes. It refuses impossible peers, and peers for which there is no room;
// its error names the first of each.
func (l *list) change(changes []Change, room int) error {
	if l.places == nil {
		l.places = make(map[Peer]int)
	}
	var impossible, full error
	for _, c := range changes {
		place, there := l.places[c.Peer]
		switch {
		case c.Delete && there:
			l.remove(c.Peer, place)
		case c.Delete || there:
		case !possible(c.Peer):
			if impossible == nil {
				impossible = fmt.Errorf("replicate to %s: %w", c.Peer.Outer, errPeer)
			}
		case len(l.peers) >= room:
			if full == nil {
				full = fmt.Errorf("replicate to %s: %w: %d peers", c.Peer.Outer, errTooMany, room)
			}
		default:
			l.places[c.Peer] = len(l.peers)
			l.peers = append(l.peers, c.Peer)
			l.changes++
		}
	}
	return errors.Join(impossible, full)
}

// remove removes a peer, and puts the last one in its place.
func (l *list) remove(p Peer, place int) {
	last := l.peers[len(l.peers)-1]
	l.peers[place], l.places[last] = last, place
	l.peers = l.peers[:len(l.peers)-1]
	delete(l.places, p)
	l.changes++
}

// possible reports whether an outer address may be a peer's: an IPv4 address, or with a link an
// IPv6 address.
func possible(p Peer) bool {
	outer := p.Outer
	if p.Link != 0 {
		return outer.Is6()
	}
	return outer.Is4() && !outer.IsMulticast() && !outer.IsLoopback() &&
		outer.As4()[0] != 0 && outer.As4()[0] < 240
}

// entries returns the list as the programs have it.
func (l *list) entries() []bpfPeer {
	entries := make([]bpfPeer, len(l.peers))
	for i, p := range l.peers {
		entries[i] = bpfPeer{Mark: p.Mark, Link: uint32(p.Link)}
		entries[i].Address.B = p.Outer.As16()
	}
	return entries
}

// lists is how the programs have the list: two tables of which one is in use (bpf/maps.h).
type lists struct {
	plan     bpfPlan
	written  []bpfPeer // the list that is in use
	size     uint32    // of each table
	switched bool      // packets may still be under way that go by the list that is not in use
}

// write gives the programs another list: it fills the table that is not in use, and then has the
// programs use it. A packet goes by the old or by the new list, never by a part of each.
func (l *lists) write(o *bpfObjects, barrier func() error, entries []bpfPeer) error {
	if l.switched {
		if err := barrier(); err != nil {
			return err
		}
		l.switched = false
	}
	next := 1 - l.plan.Active
	if err := writeTable(o.Lists, next*l.size, entries); err != nil {
		return fmt.Errorf("write the list of %d peers: %w", len(entries), err)
	}
	plan := l.plan
	plan.Length[next] = uint32(len(entries))
	if err := o.Plans.Put(uint32(0), plan); err != nil {
		return fmt.Errorf("write the length of the list: %w", err)
	}
	l.plan = plan
	plan.Active = next
	if err := o.Plans.Put(uint32(0), plan); err != nil {
		return fmt.Errorf("switch to the new list: %w", err)
	}
	l.plan, l.written, l.switched = plan, entries, true
	return nil
}

// writeTable writes entries from a place on, with one system call.
func writeTable(table *ebpf.Map, place uint32, entries []bpfPeer) error {
	if len(entries) == 0 {
		return nil
	}
	keys := make([]uint32, len(entries))
	for i := range keys {
		keys[i] = place + uint32(i)
	}
	_, err := table.BatchUpdate(keys, entries, nil)
	return err
}

// intact reports whether the kernel has the list that was written.
func (l *lists) intact(o *bpfObjects) (bool, error) {
	var plan bpfPlan
	if err := o.Plans.Lookup(uint32(0), &plan); err != nil {
		return false, fmt.Errorf("read which list is in use: %w", err)
	}
	if plan != l.plan {
		return false, nil
	}
	keys, have := make([]uint32, 2*l.size), make([]bpfPeer, 2*l.size)
	var cursor ebpf.MapBatchCursor
	n, err := o.Lists.BatchLookup(&cursor, keys, have, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, fmt.Errorf("read the list of peers: %w", err)
	}
	start := int(plan.Active * l.size)
	end := start + len(l.written)
	return n >= end && slices.Equal(have[start:end], l.written), nil
}
