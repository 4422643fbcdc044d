package server

import (
	"net/netip"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/mismatch"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/pool"
	"cygnet/nhrpd/engine/prefixes"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/ratelimit"
	"cygnet/nhrpd/engine/rib"
)

// Server is the next hop server on an interface (RFC 2332 §5.2.3): the bindings and prefixes that
// clients have registered, and who owns the addresses of clients that are away.
type Server struct {
	Needs

	Bindings  map[netip.Addr]*Binding // by overlay address
	uncertain uncertain

	// Owners has the owners of overlay addresses whose binding ended because the SA had gone, by
	// overlay address.
	Owners map[netip.Addr]*owner

	Announced map[netip.Prefix]*Announced

	Away   map[overlay.Holder]*away // clients that are not registered now
	AwayAt rib.Trie                 // by NBMA address

	AddressesOf ratelimit.Shares[overlay.Holder] // overlay addresses that each router has or owns
	PrefixesOf  ratelimit.Shares[overlay.Holder] // how many announced prefixes each router has

	pool pool.Pool[Binding]
}

// Needs are the parts of the interface that the server stands on.
type Needs struct {
	*overlay.Interface
	Peers      *peers.Table
	Neighbors  *neighbors.Table
	Admissions *admission.Table
	Purges     *purge.Table
	Client     *client.Client
	Prefixes   *prefixes.Rules
	Mismatches *mismatch.Table
	Parts      Parts
}

// Parts is what the server asks of the other parts of its interface, and tells them.
type Parts interface {
	// PrefixRouted says that the kernel is about to get a route to a client's prefix.
	PrefixRouted(prefix netip.Prefix)
	// AnnouncedIn returns the announced prefix that equals prefix, on any interface that forwards
	// by the same routing table. It returns nil if there is none.
	AnnouncedIn(prefix netip.Prefix) *Announced
}

// New returns a server without clients, with memory for that many.
func New(needs Needs, clients int) Server {
	return Server{
		Needs:       needs,
		Bindings:    make(map[netip.Addr]*Binding, clients),
		uncertain:   make(uncertain),
		Owners:      make(map[netip.Addr]*owner),
		Announced:   make(map[netip.Prefix]*Announced),
		Away:        make(map[overlay.Holder]*away),
		AddressesOf: make(ratelimit.Shares[overlay.Holder], clients),
		PrefixesOf:  make(ratelimit.Shares[overlay.Holder]),
		pool:        pool.New[Binding](clients),
	}
}
