package client

import (
	"net/netip"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/prefixes"
	"cygnet/nhrpd/engine/purge"
)

// Client is the next hop client on an interface: it registers this router with its NHSs (RFC 2332
// §5.2.3).
type Client struct {
	Needs

	NHS []*NHS // in the order of the configuration
}

// Needs are the parts of the interface that the client stands on.
type Needs struct {
	*overlay.Interface
	Peers      *peers.Table
	Neighbors  *neighbors.Table
	Admissions *admission.Table
	Purges     *purge.Table
	Prefixes   *prefixes.Rules
	Parts      Parts
}

// Parts is what the client tells the other parts of its interface.
type Parts interface {
	// MoveRelaysFrom says that an NHS does not have us registered any more.
	MoveRelaysFrom(nbma netip.Addr)
	// DropRelaysBy says that the router at an NBMA address is none of our NHSs any more.
	DropRelaysBy(nbma netip.Addr)
	// EndSearchFor says that a router with an overlay address is one of our NHSs.
	EndSearchFor(protocol netip.Addr)
	// HaveAllVouched says that an NHS has registered us that had not before.
	HaveAllVouched()
	// EndDirectPaths says that the NBMA address by which others know us has changed.
	EndDirectPaths()
	// ConfirmShortcuts says that the routers at the other end of our shortcuts have to learn our
	// new NBMA address.
	ConfirmShortcuts()
}

// New returns a client without NHSs.
func New(needs Needs) Client {
	return Client{
		Needs: needs,
	}
}
