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
	owner claimant
	peer  *peer
	kind  interestKind
	dial  bool // we are the one who initiates
}

// claimant is who has an interest in a peer.
type claimant interface {
	peerSecured(e *Engine)
	peerLost(e *Engine, reason string)
	peerFailed(e *Engine)
}

// claim makes c an interest in p, and no longer in the peer that it was one in.
func (e *Engine) claim(c *claim, p *peer, kind interestKind, dial bool) {
	old := c.peer
	if old != nil && old != p {
		old.forget(c)
	}
	c.kind, c.dial = kind, dial
	if old != p {
		c.peer = p
		p.claims = append(p.claims, c)
	}
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
	if router := c.router(); router.IsValid() && p.secured && !p.router.IsValid() {
		p.router = router
	}
	p.forget(c)
	e.reviseSecurity(p)
}

func (p *peer) forget(c *claim) {
	if i := slices.Index(p.claims, c); i >= 0 {
		p.claims = slices.Delete(p.claims, i, i+1)
	}
}

// interests names the kinds of interest in a peer, each once.
func (p *peer) interests() []string {
	var there [len(interestNames)]bool
	for _, c := range p.claims {
		there[c.kind] = true
	}
	var names []string
	for k, is := range there {
		if is {
			names = append(names, interestKind(k).String())
		}
	}
	return names
}

// closable says whether nothing but answers given keeps the peer's SA: it may go when nobody uses it.
func (p *peer) closable() bool {
	return p.secured && !slices.ContainsFunc(p.claims, func(c *claim) bool { return c.kind != interestAnswer })
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

// reviseSecurity wants of strongSwan what follows from the interests. An SA that is there stays, since the other end may be using
// it, until it is silent: see closeSilent.
func (e *Engine) reviseSecurity(p *peer) {
	if p.ifc.cfg.Protected {
		want := SANone
		if p.secured && p.want != SANone {
			want = SAAccept
		}
		for _, c := range p.claims {
			want = max(want, c.security())
		}
		if p.unlisted && len(p.claims) > 0 {
			// It does not know that strongSwan here has lost its SA, and would find out much later than we can dial.
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
