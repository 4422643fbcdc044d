// Package multicast decides which peers get what this router sends to groups over the tunnel: its
// NHSs, its clients, and the routers that the configuration names, as far as the kernel has a
// neighbour for them.
package multicast

import (
	"maps"
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// Table has the receivers of an interface: the peers that get a copy of each packet to a group. A
// router with several overlay addresses is one receiver.
type Table struct {
	*overlay.Interface

	neighbors *neighbors.Table

	at    map[netip.Addr]peerid.ID // the receiver at each overlay address that makes its peer one
	count map[peerid.ID]int        // how many overlay addresses in at have the receiver
}

// New returns a table without receivers.
func New(ifc *overlay.Interface, ns *neighbors.Table) Table {
	return Table{
		Interface: ifc,
		neighbors: ns,
		at:        make(map[netip.Addr]peerid.ID),
		count:     make(map[peerid.ID]int),
	}
}

// Review decides anew whether the router with an overlay address is a receiver. The caller calls it
// when the neighbour for that address has changed.
func (t *Table) Review(protocol netip.Addr) {
	now := t.receiver(protocol)
	before := t.at[protocol]
	if now == before {
		return
	}
	if now.IsValid() {
		t.at[protocol] = now
		if t.count[now]++; t.count[now] == 1 {
			t.change(now, false)
		}
	} else {
		delete(t.at, protocol)
	}
	if !before.IsValid() {
		return
	}
	if t.count[before]--; t.count[before] == 0 {
		delete(t.count, before)
		t.change(before, true)
	}
}

// ReviewAll decides anew about all routers, after the configuration has changed.
func (t *Table) ReviewAll() {
	for _, protocol := range slices.SortedFunc(t.neighbors.All(), netip.Addr.Compare) {
		t.Review(protocol)
	}
}

// receiver returns the peer with an overlay address, or the zero ID if that peer is no receiver by
// this address. A parked peer is none: the kernel sends nothing to it.
func (t *Table) receiver(protocol netip.Addr) peerid.ID {
	peer, _, ok := t.neighbors.Lookup(protocol)
	if !ok || peer.IsParked() || !t.wants(protocol) {
		return peerid.ID{}
	}
	return peer
}

// wants reports whether the configuration has the router with an overlay address receive.
func (t *Table) wants(protocol netip.Addr) bool {
	c := &t.Config.Multicast
	return c.NHSs && t.neighbors.Claimed(protocol, neighbors.RankNHS) ||
		c.Clients && t.neighbors.Claimed(protocol, neighbors.RankBinding) ||
		slices.Contains(c.Routers, protocol)
}

// change tells that a peer is a receiver from now on, or with gone that it no longer is one.
func (t *Table) change(peer peerid.ID, gone bool) {
	t.Out.Receivers = append(t.Out.Receivers, output.ReceiverChange{
		PeerKey: output.PeerKey{Interface: t.Config.Name, ID: peer},
		Delete:  gone,
	})
}

// Receivers returns the receivers in the order of their IDs.
func (t *Table) Receivers() []peerid.ID {
	return slices.SortedFunc(maps.Keys(t.count), peerid.ID.Compare)
}

// Len returns the number of receivers.
func (t *Table) Len() int { return len(t.count) }
