package server

import (
	"net/netip"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/inquiry"
	"cygnet/nhrpd/engine/mismatch"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/pool"
	"cygnet/nhrpd/engine/prefixes"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/ratelimit"
)

// Server is the next hop server on an interface (RFC 2332 §5.2.3): the bindings and prefixes that
// clients have registered, and who owns the addresses of clients that are away.
type Server struct {
	Needs

	// Draining reports whether this router asks its clients away: it refuses registrations for lack
	// of room, so that clients go to other NHSs, and ends no binding itself. Other packages only
	// read it.
	Draining bool
	// Bindings has the clients and static maps, by overlay address.
	Bindings map[netip.Addr]*Binding
	// Owners has the identities for which overlay addresses are reserved.
	Owners Owners
	// Announced has the prefixes that clients announced.
	Announced AnnouncedPrefixes
	// Away has the clients that are not registered now and may come back.
	Away AwayClients

	// AddressesOf has how many overlay addresses each router has registered or owns.
	AddressesOf ratelimit.Shares[overlay.Holder]

	uncertain uncertain

	pool pool.Pool[Binding]
}

// Needs are the parts of the interface that the server uses. Every field must be set. The parts
// need not be complete before the first event.
type Needs struct {
	*overlay.Interface
	Peers      *peers.Table
	Neighbors  *neighbors.Table
	Admissions *admission.Table
	Purges     *purge.Table
	Client     *client.Client
	Prefixes   *prefixes.Rules
	Mismatches *mismatch.Table
	Inquiries  *inquiry.Table
	Parts      Parts
}

// Drain has this router ask its clients away, or take clients again.
func (srv *Server) Drain(on bool) { srv.Draining = on }

// Parts is what the server asks of the other parts of its interface, and tells them.
type Parts interface {
	// PrefixRouted is called before the kernel gets a route to a client's prefix. A shortcut to the
	// same prefix ends.
	PrefixRouted(prefix netip.Prefix)
	// AnnouncedIn returns the announced prefix that equals prefix, on any interface that forwards
	// by the same routing table. It returns nil if there is none.
	AnnouncedIn(prefix netip.Prefix) *Announced
}

// New returns a server without clients, with memory for that many of them.
func New(needs Needs, clients int) Server {
	addresses := make(ratelimit.Shares[overlay.Holder], clients)
	return Server{
		Needs:       needs,
		Bindings:    make(map[netip.Addr]*Binding, clients),
		uncertain:   make(uncertain),
		Owners:      newOwners(needs, addresses),
		Announced:   newAnnouncedPrefixes(needs),
		Away:        newAwayClients(needs),
		AddressesOf: addresses,
		pool:        pool.New[Binding](clients),
	}
}
