package overlay

import (
	"net/netip"

	"cygnet/nhrpd/engine/rib"
	"cygnet/nhrpd/packet"
)

// Interface is one interface of this router as all its parts see it: its configuration and
// addresses, what limits other routers, and what each part needs to send and to report. An
// interface that has left keeps its configuration, its local address, the addresses of its NHSs and
// its record of the SAs, and does nothing.
type Interface struct {
	*Router

	Config  InterfaceConfig
	Left    bool
	Leaving bool // left, and waits for replies to its goodbyes
	Local   netip.Addr

	// Known is the last valid local address, or before the first one comes, the address that was
	// saved before a restart. Our answers name that address.
	Known netip.Addr

	Auth packet.Extension // from cfg.Authentication

	Limiters Limiters
	Quiet    quietEvents // notices kept out of the log by limits.events

	Peers Peers
}

// Peers tells what the interface knows about the peer at an NBMA address.
type Peers interface {
	// Outer returns the outer address of a peer: the address itself, unless it is a peer ID.
	Outer(nbma netip.Addr) netip.Addr
	// HolderAt returns whose share of limited tables the peer uses.
	HolderAt(nbma netip.Addr) Holder
	// Secured reports whether packets may go to a peer.
	Secured(nbma netip.Addr) bool
	// SentTo counts a packet that goes to a peer.
	SentTo(nbma netip.Addr)
}

// Address returns our own overlay address.
func (ifc *Interface) Address() netip.Addr { return ifc.Config.Address.Addr() }

// TableID returns the number of the routing table that the interface forwards by.
func (ifc *Interface) TableID() uint32 { return ifc.Config.Table }

// OnOverlay reports whether addr is of the same IP version as the overlay.
func (ifc *Interface) OnOverlay(addr netip.Addr) bool {
	return addr.IsValid() && addr.Is4() == ifc.Address().Is4()
}

// Table returns the mirror of the routing table that the interface forwards by; it makes the mirror
// if there is none.
func (ifc *Interface) Table() *rib.Table {
	t := ifc.Tables[ifc.Config.Table]
	if t == nil {
		t = &rib.Table{}
		ifc.Tables[ifc.Config.Table] = t
	}
	return t
}
