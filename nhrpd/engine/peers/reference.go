package peers

import (
	"net/netip"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
)

// Kind is the kind of a reason for a peer.
type Kind uint8

const (
	ForNHS        Kind = iota // this router registers with the peer
	ForBinding                // the peer is registered here, or has a static map
	ForShortcut               // a route leads through the peer
	ForResolution             // an answer named the peer; the route waits for its SA
	ForAnswer                 // the peer asked for a way that ends at this router
)

var reasonNames = [...]string{"nhs", "binding", "shortcut", "resolution", "answer"}

func (k Kind) String() string { return reasonNames[k] }

// Ref is its owner's reference to a peer. It lies within its owner and must not be copied.
type Ref struct {
	Owner   Reason
	Peer    *Peer
	Kind    Kind
	Dial    bool // this router initiates the SA
	counted bool // the peer's counts include the reference as it is now
}

// RefCounts counts the references to a peer by kind and by what they want. The counts save a walk
// over all references, of which one peer may have thousands.
type RefCounts struct {
	Kinds  [len(reasonNames)]int
	Wishes [output.SAInitiateFirst + 1]int // by what the references want of strongSwan
}

// count adds a reference to the counts.
func (p *Peer) count(c *Ref) {
	c.counted = true
	p.Counts.Kinds[c.Kind]++
	p.Counts.Wishes[c.Security()]++
}

// uncount takes a reference out of the counts, before the reference changes or goes.
func (p *Peer) uncount(c *Ref) {
	if c.counted {
		c.counted = false
		p.Counts.Kinds[c.Kind]--
		p.Counts.Wishes[c.Security()]--
	}
}

// Refer makes c a reference to p. If c referred to another peer, it no longer does.
func (ps *Table) Refer(c *Ref, p *Peer, kind Kind, dial bool) {
	old := c.Peer
	if old != nil {
		old.uncount(c)
	}
	if old != nil && old != p {
		old.forget(c)
	}
	c.Kind, c.Dial = kind, dial
	if old != p {
		c.Peer = p
		p.Refs = append(p.Refs, c)
	}
	p.count(c)
	ps.reviseSecurity(p)
	if old != nil && old != p {
		ps.reviseSecurity(old)
	}
}

// Release ends the reference.
func (ps *Table) Release(c *Ref) {
	p := c.Peer
	if p == nil {
		return
	}
	c.Peer = nil
	if router := c.Owner.Router(); router.IsValid() && p.Secured && !p.Router.IsValid() {
		p.Router = router
	}
	p.forget(c)
	ps.reviseSecurity(p)
}

// forget takes a reference off the peer's list.
func (p *Peer) forget(c *Ref) {
	p.uncount(c)
	p.Refs = ordered.Without(p.Refs, c)
}

// ReasonNames returns the names of the kinds of reasons for a peer, each once.
func (p *Peer) ReasonNames() []string {
	var names []string
	for k, count := range p.Counts.Kinds {
		if count > 0 {
			names = append(names, Kind(k).String())
		}
	}
	return names
}

// Closable reports whether the peer has an SA that only given answers keep. This router may close
// such an SA when no data passes any more.
func (p *Peer) Closable() bool {
	return p.Secured && len(p.Refs) == p.Counts.Kinds[ForAnswer]
}

// Security returns what the reference by itself wants of strongSwan.
func (c *Ref) Security() output.Security {
	switch {
	case c.Dial && c.Kind == ForNHS:
		return output.SAInitiateFirst
	case c.Dial:
		return output.SAInitiate
	}
	return output.SAAccept
}

// reviseSecurity asks strongSwan for what the references to the peer want together. An SA that is
// up stays even if no reference wants it, since the other end may be using it: closeSilent closes
// it once it is silent. Without references and without an SA, the peer is forgotten.
func (ps *Table) reviseSecurity(p *Peer) {
	if ps.Config.Protected {
		want := output.SANone
		if p.Secured && p.Want != output.SANone {
			want = output.SAAccept
		}
		for wish, count := range p.Counts.Wishes {
			if count > 0 {
				want = max(want, output.Security(wish))
			}
		}
		if p.Unlisted && len(p.Refs) > 0 {
			// The peer does not know that strongSwan here has lost the SA. To dial is much faster
			// than to wait until the peer finds out.
			want = max(want, output.SAInitiate)
		}
		ps.want(p, want)
		if p.Closable() {
			ps.StartPoll()
		}
	}
	ps.forgetIdlePeer(p)
}

// want asks strongSwan for the wanted security of the peer, if that differs from what it was last
// asked for.
func (ps *Table) want(p *Peer, want output.Security) {
	if p.Want == want {
		return
	}
	if p.Want == output.SANone && !p.Secured {
		p.Since = ps.Now
	}
	p.Want = want
	ps.Out.SAs = append(ps.Out.SAs, output.SAChange{
		PeerKey: output.PeerKey{Interface: ps.Config.Name, NBMA: p.NBMA},
		Want:    want,
	})
}

// Has reports whether the peer has a reason of that kind.
func (p *Peer) Has(kind Kind) bool { return p.Counts.Kinds[kind] > 0 }

// SentTo implements peerTable.
func (ps *Table) SentTo(nbma netip.Addr) {
	if p := ps.ByNBMA[nbma]; p != nil {
		p.Sent++
	}
}

// IsNHS reports whether this router registers with the peer at an NBMA address.
func (ps *Table) IsNHS(nbma netip.Addr) bool {
	p := ps.ByNBMA[nbma]
	return p != nil && p.Has(ForNHS)
}
