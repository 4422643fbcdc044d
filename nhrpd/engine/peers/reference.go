package peers

import (
	"net/netip"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peerid"
)

// Kind is the kind of a reason for a peer.
type Kind uint8

// The kinds of reasons.
const (
	ForNHS        Kind = iota // this router registers with the peer
	ForBinding                // the peer is registered here, or has a static map
	ForShortcut               // a route leads through the peer
	ForResolution             // an answer named the peer; the route waits for its SA
	ForAnswer                 // the peer asked for a way that ends at this router
)

var kindNames = [...]string{"nhs", "binding", "shortcut", "resolution", "answer"}

// String returns the name of the kind, as the status shows it.
func (k Kind) String() string { return kindNames[k] }

// Ref is its owner's reference to a peer. It lies within its owner and must not be copied. The
// owner sets Owner; only [Table.Refer] and [Table.Release] change the rest.
type Ref struct {
	Owner Reason // is told what happens to the peer
	Peer  *Peer  // nil: no reference
	Kind  Kind
	Dial  bool // this router initiates the SA

	counted bool // the peer's counts include the reference as it is now
}

// refCounts counts the references to a peer by kind and by what they want. The counts save a walk
// over all references, of which one peer may have thousands.
type refCounts struct {
	kinds  [len(kindNames)]int
	wanted [output.SAInitiateFirst + 1]int // by what the references want of strongSwan
}

// add counts a reference n times.
func (c *refCounts) add(r *Ref, n int) {
	c.kinds[r.Kind] += n
	c.wanted[r.security()] += n
}

// count adds a reference to the counts.
func (p *Peer) count(r *Ref) {
	r.counted = true
	p.counts.add(r, 1)
}

// uncount takes a reference out of the counts, before the reference changes or goes.
func (p *Peer) uncount(r *Ref) {
	if r.counted {
		r.counted = false
		p.counts.add(r, -1)
	}
}

// Refer makes r a reference to p. If r referred to another peer, it no longer does.
func (ps *Table) Refer(r *Ref, p *Peer, kind Kind, dial bool) {
	old := r.Peer
	if old != nil {
		old.uncount(r)
	}
	if old != nil && old != p {
		old.forget(r)
	}
	r.Kind, r.Dial = kind, dial
	if old != p {
		r.Peer = p
		p.Refs = append(p.Refs, r)
	}
	p.count(r)
	ps.endVisit(p)
	ps.reviseSecurity(p)
	if old != nil && old != p {
		ps.reviseSecurity(old)
	}
}

// Release ends the reference. It does nothing if r refers to no peer.
func (ps *Table) Release(r *Ref) {
	p := r.Peer
	if p == nil {
		return
	}
	r.Peer = nil
	router := r.Owner.Router()
	if router.IsValid() && p.Secured && !p.endedRouter.IsValid() {
		p.endedRouter = router
	}
	p.forget(r)
	ps.reviseSecurity(p)
}

// forget takes a reference off the peer's list.
func (p *Peer) forget(r *Ref) {
	p.uncount(r)
	p.Refs = ordered.Without(p.Refs, r)
}

// Routers returns the overlay addresses that the references to the peer are about, or that one was
// about which ended since the SA came. Addresses may be in the list more than once.
func (p *Peer) Routers() []netip.Addr {
	var list []netip.Addr
	for _, r := range p.Refs {
		if router := r.Owner.Router(); router.IsValid() {
			list = append(list, router)
		}
	}
	if p.endedRouter.IsValid() {
		list = append(list, p.endedRouter)
	}
	return list
}

// Has reports whether the peer has a reason of that kind.
func (p *Peer) Has(kind Kind) bool { return p.counts.kinds[kind] > 0 }

// ReasonNames returns the names of the kinds of reasons for a peer, each once.
func (p *Peer) ReasonNames() []string {
	var names []string
	for k := range kindNames {
		if kind := Kind(k); p.Has(kind) {
			names = append(names, kind.String())
		}
	}
	return names
}

// IsNHS reports whether this router registers with a peer.
func (d Directory) IsNHS(id peerid.ID) bool {
	p := d.ByID[id]
	return p != nil && p.Has(ForNHS)
}

// Closable reports whether the peer has an SA for which there is no reason but answers that this
// router gave. This router may close such an SA when no data passes any more.
func (p *Peer) Closable() bool {
	return p.Secured && len(p.Refs) == p.counts.kinds[ForAnswer]
}

// security returns what the reference by itself wants of strongSwan.
func (r *Ref) security() output.Security {
	switch {
	case r.Dial && r.Kind == ForNHS:
		return output.SAInitiateFirst
	case r.Dial:
		return output.SAInitiate
	}
	return output.SAAccept
}

// reviseSecurity asks strongSwan for what the references to the peer want together. An SA that is
// up stays even if no reference wants it, since the other end may be using it: CloseSilent closes
// it once it is silent. Without references and without an SA, the peer is forgotten.
func (ps *Table) reviseSecurity(p *Peer) {
	if ps.Config.Protected {
		ps.want(p, p.wanted())
		if p.Closable() {
			ps.Poll.Start()
		}
	}
	ps.forgetIdlePeer(p)
}

// wanted returns what the references to the peer want of strongSwan together.
func (p *Peer) wanted() output.Security {
	want := output.SANone
	if p.Secured && p.Want != output.SANone {
		want = output.SAAccept
	}
	for security, count := range p.counts.wanted {
		if count > 0 {
			want = max(want, output.Security(security))
		}
	}
	if p.Unlisted && len(p.Refs) > 0 {
		// The peer does not know that strongSwan here has lost the SA. To dial is much faster than
		// to wait until the peer finds out.
		want = max(want, output.SAInitiate)
	}
	return want
}

// want asks strongSwan for the wanted security of the peer, if what the interfaces of the group
// want together differs from what strongSwan was last asked for.
func (ps *Table) want(p *Peer, want output.Security) {
	if p.Want == want {
		return
	}
	if p.Want == output.SANone && !p.Secured {
		p.Since = ps.Now
	}
	before := ps.wantedOfAll(p)
	p.Want = want
	if p.ID.IsParked() {
		return // strongSwan knows no such peer
	}
	if all := ps.wantedOfAll(p); all != before {
		ps.Out.SAs = append(ps.Out.SAs, output.SAChange{PeerKey: ps.keyOf(p), Want: all})
	}
}
