package engine

import "slices"

// reasonKind is the kind of a reason for a peer.
type reasonKind uint8

const (
	reasonNHS        reasonKind = iota // this router registers with the peer
	reasonBinding                      // the peer is registered here, or has a static map
	reasonShortcut                     // a route leads through the peer
	reasonResolution                   // an answer named the peer; the route waits for its SA
	reasonAnswer                       // the peer asked for a way that ends at this router
)

var reasonNames = [...]string{"nhs", "binding", "shortcut", "resolution", "answer"}

func (k reasonKind) String() string { return reasonNames[k] }

// peerRef is its owner's reference to a peer. It lies within its owner and must not be copied.
type peerRef struct {
	owner   reason
	peer    *peer
	kind    reasonKind
	dial    bool // this router initiates the SA
	counted bool // the peer's counts include the reference as it is now
}

// refCounts counts the references to a peer by kind and by what they want. The counts save a walk
// over all references, of which one peer may have thousands.
type refCounts struct {
	kinds  [len(reasonNames)]int
	wishes [SAInitiateFirst + 1]int // by what the references want of strongSwan
}

// count adds a reference to the counts.
func (p *peer) count(c *peerRef) {
	c.counted = true
	p.counts.kinds[c.kind]++
	p.counts.wishes[c.security()]++
}

// uncount takes a reference out of the counts, before the reference changes or goes.
func (p *peer) uncount(c *peerRef) {
	if c.counted {
		c.counted = false
		p.counts.kinds[c.kind]--
		p.counts.wishes[c.security()]--
	}
}

// refer makes c a reference to p. If c referred to another peer, it no longer does.
func (e *Engine) refer(c *peerRef, p *peer, kind reasonKind, dial bool) {
	old := c.peer
	if old != nil {
		old.uncount(c)
	}
	if old != nil && old != p {
		old.forget(c)
	}
	c.kind, c.dial = kind, dial
	if old != p {
		c.peer = p
		p.refs = append(p.refs, c)
	}
	p.count(c)
	e.reviseSecurity(p)
	if old != nil && old != p {
		e.reviseSecurity(old)
	}
}

// release ends the reference.
func (e *Engine) release(c *peerRef) {
	p := c.peer
	if p == nil {
		return
	}
	c.peer = nil
	if router := c.owner.router(); router.IsValid() && p.secured && !p.router.IsValid() {
		p.router = router
	}
	p.forget(c)
	e.reviseSecurity(p)
}

// forget takes a reference off the peer's list.
func (p *peer) forget(c *peerRef) {
	p.uncount(c)
	p.refs = without(p.refs, c)
}

// reasonNames returns the names of the kinds of reasons for a peer, each once.
func (p *peer) reasonNames() []string {
	var names []string
	for k, count := range p.counts.kinds {
		if count > 0 {
			names = append(names, reasonKind(k).String())
		}
	}
	return names
}

// closable reports whether the peer has an SA that only given answers keep. This router may close
// such an SA when no data passes any more.
func (p *peer) closable() bool {
	return p.secured && len(p.refs) == p.counts.kinds[reasonAnswer]
}

// security returns what the reference by itself wants of strongSwan.
func (c *peerRef) security() Security {
	switch {
	case c.dial && c.kind == reasonNHS:
		return SAInitiateFirst
	case c.dial:
		return SAInitiate
	}
	return SAAccept
}

// reviseSecurity asks strongSwan for what the references to the peer want together. An SA that is
// up stays even if no reference wants it, since the other end may be using it: closeSilent closes
// it once it is silent. Without references and without an SA, the peer is forgotten.
func (e *Engine) reviseSecurity(p *peer) {
	if p.ifc.cfg.Protected {
		want := SANone
		if p.secured && p.want != SANone {
			want = SAAccept
		}
		for wish, count := range p.counts.wishes {
			if count > 0 {
				want = max(want, Security(wish))
			}
		}
		if p.unlisted && len(p.refs) > 0 {
			// The peer does not know that strongSwan here has lost the SA. To dial is much faster
			// than to wait until the peer finds out.
			want = max(want, SAInitiate)
		}
		e.want(p, want)
		if p.closable() {
			e.startPoll(p.ifc)
		}
	}
	e.forgetIdlePeer(p)
}

// want asks strongSwan for the wanted security of the peer, if that differs from what it was last
// asked for.
func (e *Engine) want(p *peer, want Security) {
	if p.want == want {
		return
	}
	if p.want == SANone && !p.secured {
		p.since = e.now
	}
	p.want = want
	e.out.SAs = append(e.out.SAs, SAChange{
		PeerKey: PeerKey{Interface: p.ifc.cfg.Name, NBMA: p.nbma},
		Want:    want,
	})
}

// without returns the list without its first element equal to v; it reuses the list's memory. A
// peer may have thousands of references that end one after the other in the order of the list, so
// taking out the first element moves no other.
func without[T comparable](list []T, v T) []T {
	i := slices.Index(list, v)
	switch {
	case i < 0:
		return list
	case i == 0 && len(list) > 1:
		var none T
		list[0] = none
		return list[1:]
	}
	return slices.Delete(list, i, i+1)
}

// has reports whether the peer has a reason of that kind.
func (p *peer) has(kind reasonKind) bool { return p.counts.kinds[kind] > 0 }
