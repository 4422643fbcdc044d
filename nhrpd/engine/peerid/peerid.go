// Package peerid has the type that identifies a peer.
//
// An NBMA address alone does not: several routers may be behind one NAT address, and then only the
// marks of their SAs tell them apart. An [ID] is a type of its own, so that it cannot get to where
// an address is needed: into a packet, the log or the status. Only the table of peers knows at
// which outer address the peer with an ID is.
package peerid

import (
	"cmp"
	"fmt"
	"net/netip"
)

// ID identifies a peer of an interface. It can be a key of a map. The zero ID stands for no peer.
type ID struct {
	// at is the NBMA address of a peer that has it for itself, and zero in other IDs.
	at netip.Addr

	// number is the mark of a marked peer, and the number of a parked peer plus parked.
	number uint64
}

// parked is above all marks.
const parked = 1 << 32

// At returns the ID of the peer at an NBMA address. It returns the zero ID for the zero address.
func At(nbma netip.Addr) ID { return ID{at: nbma} }

// Marked returns the ID of a peer that shares its NBMA address with others, by the mark of its SA.
// It returns the zero ID for the mark 0, which no SA has.
func Marked(mark uint32) ID { return ID{number: uint64(mark)} }

// Parked returns the ID of a parked peer: one that takes the place of a marked peer while that one
// has no SA. It returns the zero ID for the number 0.
func Parked(number uint32) ID {
	if number == 0 {
		return ID{}
	}
	return ID{number: parked + uint64(number)}
}

// IsValid reports whether the ID stands for a peer.
func (id ID) IsValid() bool { return id != ID{} }

// Address returns the NBMA address of a peer that has it for itself. It returns the zero address
// for other IDs: the NAT address that the peer shares with others does not follow from its ID.
func (id ID) Address() netip.Addr { return id.at }

// Shares reports whether the peer shares its NBMA address with others: it is marked or parked.
func (id ID) Shares() bool { return id.number != 0 }

// Mark returns the mark of a marked peer. It returns 0 and false for other IDs.
func (id ID) Mark() (mark uint32, is bool) {
	if id.number == 0 || id.IsParked() {
		return 0, false
	}
	return uint32(id.number), true
}

// Parking returns the number of a parked peer. It returns 0 and false for other IDs.
func (id ID) Parking() (number uint32, is bool) {
	if !id.IsParked() {
		return 0, false
	}
	return uint32(id.number), true
}

// IsParked reports whether the ID is that of a parked peer.
func (id ID) IsParked() bool { return id.number > parked }

// Compare orders IDs: the zero ID, then marked peers by mark, parked peers by number, and peers
// with an NBMA address of their own by address.
func (id ID) Compare(o ID) int {
	if id.at.IsValid() || o.at.IsValid() {
		return id.at.Compare(o.at)
	}
	return cmp.Compare(id.number, o.number)
}

// String returns the ID for tests and logs that are about IDs. Whatever shows a peer to people
// shows its outer address instead.
func (id ID) String() string {
	if mark, is := id.Mark(); is {
		return fmt.Sprintf("mark %d", mark)
	}
	if number, is := id.Parking(); is {
		return fmt.Sprintf("parked %d", number)
	}
	if !id.IsValid() {
		return "no peer"
	}
	return id.at.String()
}
