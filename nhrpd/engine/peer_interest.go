package engine

import "slices"

// interestKind says why a peer is wanted.
type interestKind uint8

const (
	interestNHS        interestKind = iota // we are registered with it
	interestBinding                        // it is registered with us
	interestShortcut                       // a route leads through it
	interestResolution                     // it is what an answer named; the route waits for its SA
	interestAnswer                         // it asked for the way to us
)

var interestNames = [...]string{"nhs", "binding", "shortcut", "resolution", "answer"}

func (k interestKind) String() string { return interestNames[k] }

// claim is the interest that its owner has in a peer. It lives in its owner and must not be copied.
type claim struct {
	owner  reason
	peer   *peer
	kind   interestKind
	dial   bool // we are the one who initiates
	counts bool // its peer counts it, as it is
}

// interests counts the claims on a peer by what is asked of them, since one peer may have
// thousands.
type interests struct {
	kinds  [len(interestNames)]int
	wishes [SAInitiateFirst + 1]int // by what they want of strongSwan
}

func (p *peer) count(c *claim) {
	c.counts = true
	p.interests.kinds[c.kind]++
	p.interests.wishes[c.security()]++
}

// uncount takes a claim out of the counts before it changes or goes.
func (p *peer) uncount(c *claim) {
	if c.counts {
		c.counts = false
		p.interests.kinds[c.kind]--
		p.interests.wishes[c.security()]--
	}
}

// claim makes c an interest in p, and no longer in the peer that it was one in.
func (e *Engine) claim(c *claim, p *peer, kind interestKind, dial bool) {
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
		p.claims = append(p.claims, c)
	}
	p.count(c)
	e.reviseSecurity(p)
	if old != nil && old != p {
		e.reviseSecurity(old)
	}
}

// release ends the interest.
func (e *Engine) release(c *claim) {
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

func (p *peer) forget(c *claim) {
	p.uncount(c)
	p.claims = without(p.claims, c)
}

// interestNames names the kinds of interest in a peer, each once.
func (p *peer) interestNames() []string {
	var names []string
	for k, count := range p.interests.kinds {
		if count > 0 {
			names = append(names, interestKind(k).String())
		}
	}
	return names
}

// closable says whether nothing but answers given keeps the peer's SA: it may go when nobody uses
// it.
func (p *peer) closable() bool {
	return p.secured && len(p.claims) == p.interests.kinds[interestAnswer]
}

// security is what the interest by itself wants of strongSwan.
func (c *claim) security() Security {
	switch {
	case c.dial && c.kind == interestNHS:
		return SAInitiateFirst
	case c.dial:
		return SAInitiate
	}
	return SAAccept
}

// reviseSecurity wants of strongSwan what follows from the interests. An SA that is there stays,
// since the other end may be using it, until it is silent: see closeSilent.
func (e *Engine) reviseSecurity(p *peer) {
	if p.ifc.cfg.Protected {
		want := SANone
		if p.secured && p.want != SANone {
			want = SAAccept
		}
		for wish, count := range p.interests.wishes {
			if count > 0 {
				want = max(want, Security(wish))
			}
		}
		if p.unlisted && len(p.claims) > 0 {
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

// has reports whether there is an interest of a kind in the peer.
func (p *peer) has(kind interestKind) bool { return p.interests.kinds[kind] > 0 }
