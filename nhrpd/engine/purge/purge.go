package purge

import (
	"cmp"
	"iter"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// Request is a Purge Request of this router that waits for its reply (RFC 2332 §5.2.5).
type Request struct {
	// ID is the request ID, which the reply repeats.
	ID uint32
	// Dest is the overlay address of the router that has to forget something.
	Dest netip.Addr
	// Peer is that router. The purge goes there if it has an SA.
	Peer peerid.ID
	// Prefixes is what that router has to forget.
	Prefixes []netip.Prefix
	// Around reports that the direct path to the router carries nothing, so that the purge has to
	// go along the route.
	Around bool
	// Via is the peer to which the purge went last. It is the zero ID if the purge has not gone out
	// yet, unless the caller knows a way that will not be there any more by then.
	Via peerid.ID

	tries int
	retry timers.Timer
}

const (
	// Tries is how often a purge is sent if no reply comes.
	Tries = 3
	// RetryInterval is how long a purge waits for its reply before it is sent again.
	RetryInterval = 2 * time.Second
	// GoodbyeRetryInterval takes the place of RetryInterval while the interface leaves.
	GoodbyeRetryInterval = time.Second
)

// Parts is what purges ask of the other parts of their interface, and tell them.
type Parts interface {
	// LeaveOn is called when a purge has ended, since an interface that leaves waits for its
	// purges.
	LeaveOn()
	// Clients yields the overlay addresses of the clients that have an SA, in order.
	Clients() iter.Seq[netip.Addr]
	// BindingAt returns the peer that an overlay address is bound to, and whether a client
	// registered it. The ID is zero if there is no binding.
	BindingAt(protocol netip.Addr) (peer peerid.ID, client bool)
}

// Table has the purges of an interface: those that wait for a reply, and those about revoked
// bindings.
type Table struct {
	*overlay.Interface

	peers     *peers.Table
	neighbors *neighbors.Table

	// ByID has the purges that wait for a reply, by request ID. Those about revoked bindings are in
	// Revocations instead.
	ByID map[uint32]*Request
	// Revocations has what the clients still have to learn about revoked bindings.
	Revocations revocations

	parts Parts
}

// New returns a table without purges.
func New(
	ifc *overlay.Interface, peers *peers.Table, neighbors *neighbors.Table, parts Parts,
) Table {
	return Table{
		Interface: ifc,
		peers:     peers,
		neighbors: neighbors,
		ByID:      make(map[uint32]*Request),
		parts:     parts,
	}
}

// TakeBack takes back an answer: a peer with the overlay address dest has to forget a prefix. If
// the table is full, the purge is sent once and asks for no reply.
func (pg *Table) TakeBack(dest netip.Addr, peer peerid.ID, prefix netip.Prefix) {
	pg.takeBack(&Request{Dest: dest, Peer: peer, Prefixes: []netip.Prefix{prefix}})
}

// TakeBackAround does what TakeBack does, and sends the purge along the route to the router: the
// direct path to it carries nothing.
func (pg *Table) TakeBackAround(dest netip.Addr, peer peerid.ID, prefix netip.Prefix) {
	pg.takeBack(&Request{Dest: dest, Peer: peer, Prefixes: []netip.Prefix{prefix}, Around: true})
}

// takeBack sends a purge that takes back an answer.
func (pg *Table) takeBack(p *Request) {
	p.ID = pg.NewRequestID()
	if len(pg.ByID) >= pg.Config.Limits.Answers {
		pg.Drop(overlay.DropTableFull) // this purge will not be repeated
		pg.SendOnce(p, packet.PurgeNoReply)
		return
	}
	pg.Start(p)
}

// Start sends a purge, and repeats it until a reply comes or it was sent Tries times.
func (pg *Table) Start(p *Request) {
	p.retry.Run = func() { pg.send(p) }
	pg.ByID[p.ID] = p
	pg.send(p)
}

// send sends a purge once more, or gives it up if it was sent Tries times already.
func (pg *Table) send(p *Request) {
	if p.tries == Tries {
		pg.End(p)
		return
	}
	p.tries++
	wait := RetryInterval
	if pg.Leaving {
		wait = GoodbyeRetryInterval
	}
	pg.Timers.Set(&p.retry, pg.Now.Add(wait))
	pg.SendOnce(p, 0)
}

// End ends a purge: its reply has come, or is not waited for any more. An interface that leaves
// takes its next step after the last purge.
func (pg *Table) End(p *Request) {
	delete(pg.ByID, p.ID)
	pg.Timers.Stop(&p.retry)
	pg.parts.LeaveOn()
}

// SendOnce sends a purge without waiting for the reply.
func (pg *Table) SendOnce(p *Request, flags packet.Flags) {
	pg.sendEntries(p, flags, purgeCIEs(p.Prefixes))
}

// sendEntries sends a purge with those CIEs straight to the router, if that has an SA. Otherwise
// the purge goes along the route to the router. If there is no route any more, the purge goes to
// the peer to which it went last.
//
// On the route, an NHS is preferred to a neighbour that only a shortcut wants. A router that has no
// SA with this one takes the purge only from its NHS, or from the NBMA address at which it knows
// this router, and that address may have changed.
func (pg *Table) sendEntries(p *Request, flags packet.Flags, cies []packet.CIE) {
	if to := pg.peers.ByID[p.Peer]; to != nil && to.Secured && !p.Around &&
		!pg.neighbors.Ambiguous(p.Dest, p.Peer) {
		p.Via = p.Peer
	} else if way, err := pg.neighbors.PathPastShortcuts(p.Dest); err == neighbors.PathOK {
		p.Via = way.Peer
	}
	if p.Via.IsValid() && pg.LocalTo(p.Via).IsValid() {
		pg.sendCIEs(p.Dest, p.Via, p.ID, flags, cies)
	}
}

// SendUnconfirmed sends one Purge Request straight to p.Peer, and asks for no reply.
func (pg *Table) SendUnconfirmed(p *Request) {
	pg.sendCIEs(p.Dest, p.Peer, p.ID, packet.PurgeNoReply, purgeCIEs(p.Prefixes))
}

// purgeCIEs returns the CIEs that name prefixes in a Purge Request.
func purgeCIEs(prefixes []netip.Prefix) []packet.CIE {
	var cies []packet.CIE
	for _, p := range prefixes {
		cies = append(cies, packet.CIE{PrefixLength: uint8(p.Bits()), Protocol: p.Addr()})
	}
	return cies
}

// sendCIEs sends one Purge Request with those CIEs to a peer.
func (pg *Table) sendCIEs(
	dest netip.Addr, peer peerid.ID,
	id uint32,
	flags packet.Flags,
	cies []packet.CIE,
) {
	pg.Send(peer, &packet.Packet{
		Type:           packet.PurgeRequest,
		HopCount:       overlay.HopCount,
		Flags:          flags,
		RequestID:      id,
		SourceNBMA:     pg.LocalTo(peer),
		SourceProtocol: pg.AddressFor(dest),
		DestProtocol:   dest,
		CIEs:           cies,
	})
}

// PurgeReply handles the reply to a purge of this router, and ends that purge. The reply counts
// only if it comes from where the purge went, from the router that was asked, or from an NHS.
// Request IDs count up, so any other router could guess one.
func (pg *Table) PurgeReply(m *overlay.Message) {
	p, c := pg.ByID[m.RequestID], pg.Revocations.Waiting[m.RequestID]
	if c != nil {
		p = &c.Request
	}
	switch {
	case p == nil || p.Dest != m.DestProtocol:
		pg.Drop(overlay.DropUnsolicited)
	case m.From != p.Via && m.From != p.Peer && !pg.peers.IsNHS(m.From):
		pg.Drop(overlay.DropThirdParty)
	case c != nil:
		pg.batchAnswered(c)
	default:
		pg.End(p)
	}
}

// Repeat sends every purge again that still waits for its reply. It is called when an NHS has
// registered this router, because there may be a way to the other routers only from then on.
func (pg *Table) Repeat() {
	for _, p := range ordered.Values(pg.ByID, cmp.Compare) {
		pg.send(p)
	}
}
