package ike

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Key names a peer: its interface and its NBMA address as this end sees it, after NAT. Where
// several peers are behind one address and have SAs with marks, the interface and the mark alone
// name one of them, so that its key stays the same when the NAT's address changes.
type Key struct {
	Interface string
	NBMA      netip.Addr // invalid with a mark
	Mark      uint32     // 0: the peer is named by its address
}

// String returns the key in words, for messages.
func (k Key) String() string {
	if k.Mark != 0 {
		return fmt.Sprintf("the peer with mark %d on %s", k.Mark, k.Interface)
	}
	return fmt.Sprintf("%v on %s", k.NBMA, k.Interface)
}

// SA is an IKE_SA with its CHILD_SAs, as charon reported it last. Counters are as fresh as the last
// comparison with charon, at most a minute old.
type SA struct {
	Interface  string // whose peers it is with
	Connection string // the connection that charon made it by: a peer's or the template's

	// SelectedByMark is true when charon gives a mark of its own to each CHILD_SA of Connection.
	SelectedByMark bool

	ID         uint32 // charon's unique id
	State      string // in charon's words, at the time of the report
	LocalHost  netip.Addr
	RemoteHost netip.Addr // as this end sees it: after NAT
	RemotePort uint16
	LocalID    string
	RemoteID   string // what the peer proved: its IKE identity, or after EAP its EAP identity
	RemoteIKE  string // the peer's IKE identity; empty: not known

	Initiator    bool // this end initiated the IKE_SA
	InitiatorSPI uint64
	ResponderSPI uint64    // 0: the peer has not answered yet
	LocalNAT     bool      // this end is behind NAT
	RemoteNAT    bool      // the peer is behind NAT
	Encryption   string    // of the IKE_SA, such as AES_GCM_16-128
	Group        string    // of the IKE_SA's key exchange, such as CURVE_25519
	Established  time.Time // zero: not known
	Rekey        time.Time // when the IKE_SA is rekeyed; zero: not known
	Children     []Child

	// AsOf is the serial number of the last event that charon had raised when it reported this.
	AsOf uint64
}

// Child is a CHILD_SA: a pair of ESP SAs.
type Child struct {
	Name       string
	ID         uint32 // charon's unique id
	ReqID      uint32 // the kernel's; a rekeyed child keeps it
	State      string // in charon's words
	Mode       string // TRANSPORT or TUNNEL
	Encap      bool   // in UDP, because of NAT
	SPIIn      uint32
	SPIOut     uint32
	Encryption string
	BytesIn    uint64
	BytesOut   uint64
	PacketsIn  uint64
	PacketsOut uint64

	// CarriedIn and CarriedOut are the bytes of the children that this one replaced, since this end
	// has known the IKE_SA.
	CarriedIn  uint64
	CarriedOut uint64

	Installed time.Time
	Rekey     time.Time
	LocalTS   []string // traffic selectors, such as "192.0.2.1/32[gre]"
	RemoteTS  []string

	// Mark selects this pair of ESP SAs among several with equal addresses, in both directions:
	// packets that came through the pair have it, and packets that are to go into the pair need it.
	// 0: it has none.
	Mark uint32
}

// Key returns the key of the peer that the SA is with.
func (s *SA) Key() Key {
	if mark := s.Mark(); mark != 0 {
		return Key{Interface: s.Interface, Mark: mark}
	}
	return s.AddressKey()
}

// AddressKey returns the key of the SA's remote address, whatever its mark.
func (s *SA) AddressKey() Key { return Key{Interface: s.Interface, NBMA: s.RemoteHost} }

// Mark returns the mark that tells the SA from others with the same address; 0 if none does. It is
// the mark of the newest child, through which the peer sends. A rekeyed child keeps its mark. Marks
// that the site's own connections set say nothing about the peer and do not count.
func (s *SA) Mark() uint32 {
	if !s.SelectedByMark {
		return 0
	}
	var newest Child
	for _, c := range s.Children {
		if c.ID >= newest.ID {
			newest = c
		}
	}
	return newest.Mark
}

// NewestChild returns charon's id of the newest child; 0 if there is none.
func (s *SA) NewestChild() uint32 {
	var id uint32
	for _, c := range s.Children {
		id = max(id, c.ID)
	}
	return id
}

// Stands reports whether the IKE_SA is established, rather than being negotiated or closed.
func (s *SA) Stands() bool { return s.State == "ESTABLISHED" || s.State == "REKEYING" }

// Replaced reports whether the IKE_SA was rekeyed: another one has its children, and the end that
// rekeyed it deletes it.
func (s *SA) Replaced() bool { return s.State == "REKEYED" }

// HalfOpen reports whether this end is negotiating the IKE_SA.
func (s *SA) HalfOpen() bool { return s.Initiator && !s.Stands() && !s.Replaced() }

// Identity names an IKE identity on an interface.
type Identity struct{ Interface, ID string }

// IdentityOn returns the name of an identity. charon takes identities that differ in case for the
// same. Otherwise a router could have as many identities as there are ways to write its own.
func IdentityOn(iface, identity string) Identity {
	return Identity{iface, strings.ToLower(identity)}
}

// Identity returns the identity that the peer proved.
func (s *SA) Identity() Identity { return IdentityOn(s.Interface, s.RemoteID) }

// Identities returns the peers' identities of several SAs, each once, in order.
func Identities(sas []*SA) []string {
	var ids []string
	for _, sa := range sas {
		ids = append(ids, sa.RemoteID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
