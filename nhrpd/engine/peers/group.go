package peers

import (
	"iter"
	"slices"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
)

// Group has the tables of the interfaces that send from one underlay address. An SA is for all GRE
// between two addresses, so these interfaces share the SA with each router.
//
// Each table keeps what its own interface wants of a peer and what that interface knows of it. The
// tables ask the group only about the SA itself:
//
//   - What strongSwan is asked for is the most that any of the interfaces wants.
//   - An SA is closed once no interface needs it, and then every interface closes it at once.
//
// The zero value is a group without interfaces.
type Group struct{ tables []*Table }

// Join makes the table one of a group. It has to be in no other group, and without peers.
func (ps *Table) Join(g *Group) {
	ps.group = g
	g.tables = append(g.tables, ps)
}

// Leave takes the table out of its group, if it is in one. It reports whether the group is empty
// then. The caller has closed what the table's interface had of the group's SAs.
func (ps *Table) Leave() (empty bool) {
	g := ps.group
	if g == nil {
		return false
	}
	ps.group = nil
	g.tables = slices.DeleteFunc(g.tables, func(o *Table) bool { return o == ps })
	return len(g.tables) == 0
}

// Elsewhere yields what the other interfaces of the group have of a peer. It leaves out interfaces
// that have left. A parked peer has no SA, and so is no other interface's.
func (ps *Table) Elsewhere(p *Peer) iter.Seq[*Peer] {
	return func(yield func(*Peer) bool) {
		if ps.group == nil || p.ID.IsParked() {
			return
		}
		for _, other := range ps.group.tables {
			q := other.ByID[p.ID]
			if other == ps || q == nil || other.Left && !other.Leaving {
				continue
			}
			if !yield(q) {
				return
			}
		}
	}
}

// wantedOfAll returns what the interfaces of the group want of strongSwan for a peer together.
func (ps *Table) wantedOfAll(p *Peer) output.Security {
	want := p.Want
	for q := range ps.Elsewhere(p) {
		want = max(want, q.Want)
	}
	return want
}

// NeededElsewhere reports whether another interface of the group needs the SA with a peer. An
// interface on which the peer may do nothing does not.
func (ps *Table) NeededElsewhere(p *Peer) bool {
	for q := range ps.Elsewhere(p) {
		switch {
		case q.table.ObjectTo(q.ID).Raised():
		case q.Secured && !q.unused(), !q.Secured && len(q.Refs) > 0:
			return true
		}
	}
	return false
}

// unused reports whether an interface could do without the SA with a peer: there is no reason for
// it but given answers (see Closable), none of them is in use, and no data has passed in either
// direction for the idle time. The router that initiated the SA closes it; for the other one, the
// time is twice as long.
func (p *Peer) unused() bool {
	if p.table.Leaving || !p.Closable() || p.silent() < p.idleTime() {
		return false
	}
	return !slices.ContainsFunc(p.Refs, func(r *Ref) bool { return r.Owner.InUse() })
}

// silent returns for how long no data has passed between this interface and the peer.
func (p *Peer) silent() time.Duration {
	return p.table.Now.Sub(overlay.Later(overlay.Later(p.In, p.Out), p.Since))
}

// idleTime returns after what silence this router closes the SA.
func (p *Peer) idleTime() time.Duration {
	if p.IKE.Initiator {
		return p.table.Config.IdleTime
	}
	return 2 * p.table.Config.IdleTime
}
