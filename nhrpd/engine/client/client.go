package client

import (
	"iter"
	"net/netip"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/prefixes"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/timers"
)

// Client is the next hop client on an interface: it registers this router with its NHSs (RFC 2332
// §5.2.3).
type Client struct {
	Needs

	// NHS has the next hop servers, in the order of the configuration, and those of one name in the
	// order of its addresses. A name without an address has one NHS without an address.
	NHS []*NHS

	// Names has the addresses of the names of the NHSs.
	Names Names

	choosing bool         // chooseNHSs runs at the end of the call into the engine
	choice   timers.Timer // runs chooseNHSs when time alone changes the choice
	looking  timers.Timer // looks for NHSs that have become silent
}

// Needs are the parts of the interface that the client uses. Every field must be set. The parts
// need not be complete before the first event.
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
	// MoveRelaysFrom is called when the NHS at an NBMA address does not have us registered any
	// more. Relays through it have to take another NHS.
	MoveRelaysFrom(nhs peerid.ID)
	// DropRelaysBy is called when the router at an NBMA address is not one of our NHSs any more.
	// Relays through it end.
	DropRelaysBy(nhs peerid.ID)
	// EndSearchFor is called when the router with an overlay address turns out to be one of our
	// NHSs. A search for its NBMA address ends.
	EndSearchFor(protocol netip.Addr)
	// HaveAllVouched is called when an NHS has registered us that had not before. The NHS can vouch
	// for us to the next hops of our shortcuts.
	HaveAllVouched()
	// EndDirectPaths is called when NAT has changed the NBMA address by which others know us.
	// Shortcuts and answers that name the old address end.
	EndDirectPaths()
	// ConfirmShortcuts is called after EndDirectPaths. The next hops of the shortcuts that remain
	// have to learn our new NBMA address.
	ConfirmShortcuts()
}

// registrations yields the registrations with all NHSs.
func (cl *Client) registrations() iter.Seq[*Registration] {
	return func(yield func(*Registration) bool) {
		for _, n := range cl.NHS {
			for _, r := range n.Registrations {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// New returns a client without NHSs; SetNHSs gives it those of the configuration.
func New(needs Needs) Client {
	return Client{
		Needs: needs,
		Names: Names{Interface: needs.Interface, resolved: make(map[string][]netip.Addr)},
	}
}
