package overlay

import (
	"net/netip"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peerid"
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

	// Second is the NBMA address of the other IP version than Local. It is zero if the tunnel sends
	// over one IP version only.
	Second netip.Addr

	// Known is the last valid local address, or before the first one comes, the address that was
	// saved before a restart. Our answers name that address. KnownSecond is the same for Second.
	Known, KnownSecond netip.Addr

	// Limiters are the rate limiters for the present limits.
	Limiters Limiters

	// Peers answers questions about the peers. A part that needs more of them than Peers has, has
	// a field Peers of its own, of type *peers.Table, which hides this one.
	Peers Peers

	password packet.Extension // has Config.Authentication; empty without a password
	quiet    quietNotices
}

// Peers is what this package asks about a peer. The table of the package peers implements it.
type Peers interface {
	// Outer returns the outer address of a peer. It is zero if that is not known.
	Outer(id peerid.ID) netip.Addr
	// Identity returns the identity that IKE last proved of a peer; empty if none is known.
	Identity(id peerid.ID) string
	// HolderAt returns the router against whose shares of limited tables the peer counts.
	HolderAt(id peerid.ID) Holder
	// Secured reports whether packets may go to a peer.
	Secured(id peerid.ID) bool
	// SentTo counts a packet that goes to a peer.
	SentTo(id peerid.ID)
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

// Address returns our first or only overlay address.
func (ifc *Interface) Address() netip.Addr { return ifc.Config.Address.Addr() }

// TableID returns the number of the routing table that the interface forwards by.
func (ifc *Interface) TableID() uint32 { return ifc.Config.Table }

// Table returns the mirror of the routing table that the interface forwards by; it makes the mirror
// if there is none.
func (ifc *Interface) Table() *rib.Table { return ifc.Mirror(ifc.Config.Table) }

// ChangeRoute asks the kernel for a route, or takes it back, as change says; the interface and the
// table follow from the configuration. While the interface's table is not known, there are no
// routes: an interface whose table changes leaves and joins again.
func (ifc *Interface) ChangeRoute(change output.RouteChange) {
	if ifc.Config.Table == 0 {
		return
	}
	change.Interface = ifc.Config.Name
	change.Table, change.Metric = ifc.Config.Table, ifc.Config.Metric
	if change.HostTable {
		change.Table, change.Rule = ifc.Config.HostTable.Table, ifc.Config.HostTable.Rule
	}
	ifc.Out.Routes = append(ifc.Out.Routes, change)
}
