package purge

import (
	"cmp"
	"iter"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// Purge is a purge request of this router that waits for its reply (RFC 2332 §5.2.5).
type Purge struct {
	Purges   *Table
	ID       uint32
	Dest     netip.Addr // overlay address of the router that is told
	NBMA     netip.Addr // NBMA address of that router, to reach it directly
	Prefixes []netip.Prefix
	Via      netip.Addr // the NBMA address that the purge last went to
	tries    int
	again    timers.Timer
}

const (
	PurgeTries   = 3
	PurgeAgain   = 2 * time.Second
	GoodbyeAgain = time.Second // in place of purgeAgain while the interface leaves
)

// Parts is what purges ask of the other parts of their interface, and tell them.
type Parts interface {
	// LeaveOn goes on with leaving: a purge has ended.
	LeaveOn()
	// Clients yields the overlay addresses of the clients that have an SA, in order.
	Clients() iter.Seq[netip.Addr]
	// BindingAt returns where an overlay address is bound to, and whether a client registered it.
	// The NBMA address is zero if there is no binding.
	BindingAt(protocol netip.Addr) (nbma netip.Addr, client bool)
}

// Table are the purges of an interface (RFC 2332 §5.2.5) that wait for a reply, and those about
// revoked bindings.
type Table struct {
	*overlay.Interface

	peers     *peers.Table
	neighbors *neighbors.Table

	ByID            map[uint32]*Purge // by request ID
	Deregistrations []*Purge          // sent to the NHSs last, when the interface leaves
	Revocations     revocations

	parts Parts
}

// New returns no purges.
func New(st *overlay.Interface, peers *peers.Table, neighbors *neighbors.Table, parts Parts) Table {
	return Table{
		Interface: st,
		peers:     peers,
		neighbors: neighbors,
		ByID:      make(map[uint32]*Purge),
		parts:     parts,
	}
}

// TakeBack tells the router with the overlay address dest, which is at nbma, that what it may have
// been told of a prefix no longer holds. If too many purges are out already, this one goes once and
// asks for no reply.
func (pg *Table) TakeBack(dest, nbma netip.Addr, prefix netip.Prefix) {
	p := &Purge{
		Purges:   pg,
		ID:       pg.NewRequestID(),
		Dest:     dest,
		NBMA:     nbma,
		Prefixes: []netip.Prefix{prefix},
	}
	if len(pg.ByID) >= pg.Config.Limits.Answers {
		pg.Drop(overlay.DropTableFull) // the table of purges that are repeated
		pg.SendPurgeOnce(p, packet.PurgeNoReply)
		return
	}
	pg.StartPurge(p)
}

// StartPurge sends a purge, and repeats it until a reply comes or purgeTries requests have gone.
func (pg *Table) StartPurge(p *Purge) {
	p.again.Run = func() { pg.SendPurge(p) }
	pg.ByID[p.ID] = p
	pg.SendPurge(p)
}

// SendPurge sends a purge once more, or gives it up after purgeTries requests.
func (pg *Table) SendPurge(p *Purge) {
	if p.tries == PurgeTries {
		pg.EndPurge(p)
		return
	}
	p.tries++
	wait := PurgeAgain
	if pg.Leaving {
		wait = GoodbyeAgain
	}
	pg.Timers.Set(&p.again, pg.Now.Add(wait))
	pg.SendPurgeOnce(p, 0)
}

// EndPurge ends the repetition of a purge. An interface that leaves waits for its purges, so it
// goes on with leaving after the last one.
func (pg *Table) EndPurge(p *Purge) {
	delete(pg.ByID, p.ID)
	pg.Timers.Stop(&p.again)
	pg.parts.LeaveOn()
}

// SendPurgeOnce sends a purge and sets no timer.
func (pg *Table) SendPurgeOnce(p *Purge, flags packet.Flags) {
	pg.sendPurgeEntries(p, flags, purgeCIEs(p.Prefixes))
}

// sendPurgeEntries sends a purge directly to the router, if that has an SA. Otherwise the purge
// goes along the route to the router; and if there is no route any more, it goes where the last one
// went.
//
// Along the route, the purge goes by an NHS rather than by a shortcut's neighbour. A router that
// has no SA with this one takes the purge only from its NHS, or from the NBMA address at which it
// knows this router; and that address may have changed.
func (pg *Table) sendPurgeEntries(p *Purge, flags packet.Flags, cies []packet.CIE) {
	if there := pg.peers.ByNBMA[p.NBMA]; there != nil && there.Secured &&
		!pg.neighbors.Ambiguous(p.Dest, p.NBMA) {
		p.Via = p.NBMA
	} else if way, err := pg.neighbors.PathPastShortcuts(p.Dest); err == neighbors.PathOK {
		p.Via = way.NBMA
	}
	if p.Via.IsValid() && pg.Local.IsValid() {
		pg.sendPurgeCIEs(p.Dest, p.Via, p.ID, flags, cies)
	}
}

// SendPurgeRequest sends one purge request for prefixes to an NBMA address.
func (pg *Table) SendPurgeRequest(
	dest, nbma netip.Addr,
	id uint32,
	flags packet.Flags,
	prefixes ...netip.Prefix,
) {
	pg.sendPurgeCIEs(dest, nbma, id, flags, purgeCIEs(prefixes))
}

// purgeCIEs returns the CIEs that name prefixes in a purge request.
func purgeCIEs(prefixes []netip.Prefix) []packet.CIE {
	var cies []packet.CIE
	for _, p := range prefixes {
		cies = append(cies, packet.CIE{PrefixLength: uint8(p.Bits()), Protocol: p.Addr()})
	}
	return cies
}

// sendPurgeCIEs sends one purge request with those CIEs to an NBMA address.
func (pg *Table) sendPurgeCIEs(
	dest, nbma netip.Addr,
	id uint32,
	flags packet.Flags,
	cies []packet.CIE,
) {
	pg.Send(nbma, &packet.Packet{
		Type:           packet.PurgeRequest,
		HopCount:       overlay.HopCount,
		Flags:          flags,
		RequestID:      id,
		SourceNBMA:     pg.Local,
		SourceProtocol: pg.Address(),
		DestProtocol:   dest,
		CIEs:           cies,
	})
}

// PurgeReply handles the reply to a purge, which ends the repetition. The reply counts only if it
// comes from where the purge went, from the router that was told, or from an NHS: the ids of purges
// count up, so any other router could guess one.
func (pg *Table) PurgeReply(m *overlay.Message) {
	p, h := pg.ByID[m.RequestID], pg.Revocations.Waiting[m.RequestID]
	if h != nil {
		p = &h.Purge
	}
	switch {
	case p == nil || p.Dest != m.DestProtocol:
		pg.Drop(overlay.DropUnsolicited)
	case m.From != p.Via && m.From != p.NBMA && !pg.peers.IsNHS(m.From):
		pg.Drop(overlay.DropThirdParty)
	case h != nil:
		pg.heardRevoked(h)
	default:
		pg.EndPurge(p)
	}
}

// Repeat sends all purges again that still wait for a reply. It is called when a hub has
// registered us, and so there is a way to that hub now.
func (pg *Table) Repeat() {
	for _, p := range ordered.Values(pg.ByID, cmp.Compare) {
		pg.SendPurge(p)
	}
}
