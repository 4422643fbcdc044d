package peers

import (
	"cygnet/nhrpd/engine/peerid"
)

// visit is the reason for a peer that may have asked for an answer. The answer went to an address
// that several routers share. Each of them gets a visit, since the engine does not know which one
// asked.
type visit struct {
	Unaffected

	table *Table
	ref   Ref
}

// AdmitVisitors makes a visit for each secured router behind an address that an answer goes to. One
// of those routers will use the answer.
func (ps *Table) AdmitVisitors(id peerid.ID) {
	for _, p := range ps.Addresses.Behind(id.Address()) {
		if p.Secured {
			ps.admitVisitor(p)
		}
	}
}

// admitVisitor makes a visit for a peer, unless the peer has another reason already or may have no
// direct path.
func (ps *Table) admitVisitor(p *Peer) {
	if len(p.Refs) > 0 || ps.ObjectToDirect(p.ID).Raised() {
		return
	}
	v := &visit{table: ps}
	v.ref.Owner = v
	ps.Refer(&v.ref, p, ForAnswer, false)
}

// endVisit ends the visit of a peer that has another reason now, such as its registration.
// Otherwise the visit would last as long as the SA. A visit is the first reference to its peer.
func (ps *Table) endVisit(p *Peer) {
	if v, is := p.Refs[0].Owner.(*visit); is && len(p.Refs) > 1 {
		ps.Release(&v.ref)
	}
}

// PeerLost ends the visit.
func (v *visit) PeerLost(_ string) { v.table.Release(&v.ref) }

// PeerClosed ends the visit.
func (v *visit) PeerClosed() { v.table.Release(&v.ref) }

// MarkGone ends the visit: the peer has lost its mark.
func (v *visit) MarkGone(_ *Peer, _ map[peerid.ID]*Peer) { v.table.Release(&v.ref) }
