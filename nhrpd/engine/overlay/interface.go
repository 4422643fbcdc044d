package overlay

import (
	"net/netip"

	"cygnet/nhrpd/engine/rib"
	"cygnet/nhrpd/packet"
)

// Interface is one interface of this router as all its parts see it: its configuration and
// addresses, what limits other routers, and what a part needs to send and to report.
//
// An interface that has left keeps its configuration, its local address, the addresses of its NHSs
// and its record of the SAs, and does nothing.
type Interface struct {
	*Router

	// Config is the present configuration. Configure sets it, and nothing else changes it.
	Config InterfaceConfig

	// Left reports whether this router has left the DMVPN on this interface, or is about to.
	Left bool

	// Leaving reports whether an interface that has left still waits for replies to its goodbyes.
	Leaving bool

	// Local is the NBMA address that the tunnel sends from. It is zero while the underlay has none.
	Local netip.Addr

	// Known is the last valid local address, or before the first one comes, the address that was
	// saved before a restart. Our answers name that address.
	Known netip.Addr

	// Limiters are the rate limiters for the present limits.
	Limiters Limiters

	// Peers answers questions about the peers. A part that needs more of them than Peers has, has
	// a field Peers of its own, of type *peers.Table, which hides this one.
	Peers Peers

	password packet.Extension // has Config.Authentication; empty without a password
	quiet    quietNotices
}

// Peers is what this package asks about the peer at an NBMA address. The table of the package peers
// implements it.
type Peers interface {
	// Outer returns the outer address of a peer: the address itself, unless it is a peer ID.
	Outer(nbma netip.Addr) netip.Addr
	// HolderAt returns the router against whose shares of limited tables the peer counts.
	HolderAt(nbma netip.Addr) Holder
	// Secured reports whether packets may go to a peer.
	Secured(nbma netip.Addr) bool
	// SentTo counts a packet that goes to a peer.
	SentTo(nbma netip.Addr)
}

// NewInterface returns an interface of a router, without a configuration. It asks peers about its
// peers.
func NewInterface(r *Router, peers Peers) *Interface {
	ifc := &Interface{Router: r, Peers: peers}
	ifc.quiet.due.Run = ifc.ReportQuiet
	return ifc
}

// Configure sets the configuration, and what follows from it alone. The limiters keep their buckets
// unless the limits have changed.
func (ifc *Interface) Configure(cfg InterfaceConfig) {
	if ifc.Limiters == (Limiters{}) || ifc.Config.Limits != cfg.Limits {
		ifc.Limiters = newLimiters(&cfg)
	}
	ifc.password = packet.Extension{}
	if cfg.Authentication != "" {
		ifc.password = packet.PasswordExtension(cfg.Authentication)
	}
	ifc.Config = cfg
}

// Address returns our own overlay address.
func (ifc *Interface) Address() netip.Addr { return ifc.Config.Address.Addr() }

// TableID returns the number of the routing table that the interface forwards by.
func (ifc *Interface) TableID() uint32 { return ifc.Config.Table }

// Table returns the mirror of the routing table that the interface forwards by; it makes the mirror
// if there is none.
func (ifc *Interface) Table() *rib.Table { return ifc.Mirror(ifc.Config.Table) }
