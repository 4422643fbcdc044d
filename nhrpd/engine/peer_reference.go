package engine

import "slices"

// reasonKind is the kind of a reason for a peer.
type reasonKind uint8

const (
	reasonNHS        reasonKind = iota // we are registered with it
	reasonBinding                      // it is registered with us
	reasonShortcut                     // a route leads through it
	reasonResolution                   // it is what an answer named; the route waits for its SA
	reasonAnswer                       // it asked for the way to us
)

var reasonNames = [...]string{"nhs", "binding", "shortcut", "resolution", "answer"}

func (k reasonKind) String() string { return reasonNames[k] }

// peerRef is the reference of its owner to a peer. It lies in its owner and must not be copied.
type peerRef struct {
	owner   reason
	peer    *peer
	kind    reasonKind
	dial    bool // we are the one who initiates
	counted bool // in its peer's counts, as it is
}

// refCounts counts the references to a peer by what is asked of them, since one peer may have
// thousands.
type refCounts struct {
	kinds  [len(reasonNames)]int
	wishes [SAInitiateFirst + 1]int // by what they want of strongSwan
}

func (p *peer) count(c *peerRef) {
	c.counted = true
	p.counts.kinds[c.kind]++
	p.counts.wishes[c.security()]++
}

// uncount takes a reference out of the counts before it changes or goes.
func (p *peer) uncount(c *peerRef) {
	if c.counted {
		c.counted = false
		p.counts.kinds[c.kind]--
		p.counts.wishes[c.security()]--
	}
}

// refer makes c a reference to p, and no longer to the peer that it was one to.
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

func (p *peer) forget(c *peerRef) {
	p.uncount(c)
	p.refs = without(p.refs, c)
}

// reasonNames names the kinds of reasons for a peer, each once.
func (p *peer) reasonNames() []string {
	var names []string
	for k, count := range p.counts.kinds {
		if count > 0 {
			names = append(names, reasonKind(k).String())
		}
	}
	return names
}

// closable reports whether nothing but answers given keeps the peer's SA: it may go when nobody uses
// it.
func (p *peer) closable() bool {
	return p.secured && len(p.refs) == p.counts.kinds[reasonAnswer]
}

// security is what the reference by itself wants of strongSwan.
func (c *peerRef) security() Security {
	switch {
	case c.dial && c.kind == reasonNHS:
		return SAInitiateFirst
	case c.dial:
		return SAInitiate
	}
	return SAAccept
}

// reviseSecurity wants of strongSwan what follows from the references. An SA that is there stays,
// since the other end may be using it, until it is silent: see closeSilent.
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
			// It does not know that strongSwan here has lost its SA, and would find out much later
			// than we can dial.
			want = max(want, SAInitiate)
		}
		e.want(p, want)
		if p.closable() {
			e.startPoll(p.ifc)
		}
	}
	e.forgetIdlePeer(p)
}

func (e *Engine) want(p *peer, want Security) {
	if p.want == want {
		return
	}
	if p.want == SANone && !p.secured {
		p.since = e.now
	}
	p.want = want
	e.out.SAs = append(e.out.SAs, SAChange{PeerKey: PeerKey{Interface: p.ifc.cfg.Name, NBMA: p.nbma}, Want: want})
}

// without takes an element out of a list. Thousands may rest on one peer and end one after the
// other in the order of the list: to take out the first moves nothing.
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

// has reports whether there is a reason of a kind for the peer.
func (p *peer) has(kind reasonKind) bool { return p.counts.kinds[kind] > 0 }
