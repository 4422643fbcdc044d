package sim

import (
	"fmt"
	"maps"
	"slices"

	"cygnet/nhrpd/engine"
)

// audit checks all rules for all nodes. It runs each virtual minute.
func (w *world) audit() {
	for _, n := range w.nodes {
		if n.daemonUp && w.failed == nil {
			n.audit()
		}
	}
	w.auditBound()
}

// audit checks all rules for one node.
func (n *node) audit() {
	st := n.engine.Status()[0]
	n.auditTables(&st)
	n.auditBindings(&st)
	n.auditShortcuts(&st)
	n.auditAnnounced(&st)
	n.auditKernel()
	n.unloadShared()
	if deadline, ok := n.engine.Deadline(); ok && n.wakeAt == 0 {
		n.w.violate("the simulation wakes an engine that is due", n, "due at %s", deadline)
	}
}

// auditTables checks that tables keep their limits, and that the engine knows which peers are
// secured.
func (n *node) auditTables(st *engine.InterfaceStatus) {
	l := n.cfg.Limits
	peers := l.Bindings + l.Answers + l.Shortcuts + len(n.cfg.NHS) + len(n.ends)
	if len(st.Bindings) > l.Bindings || len(st.Shortcuts) > l.Shortcuts || len(st.Peers) > peers {
		n.w.violate(ruleLimits, n, "%d bindings, %d shortcuts, %d peers",
			len(st.Bindings), len(st.Shortcuts), len(st.Peers))
	}
	for i := range st.Peers {
		p := &st.Peers[i]
		if secured := n.mayReach(p.ID); secured != (p.State == engine.StateSecured) && !n.left {
			n.w.violate("the engine knows who is secured", n, "peer %+v, told %v", *p, secured)
		}
		if len(p.Reasons) == 0 && n.wanted.known[p.ID] == "" {
			n.w.violate(ruleLimits, n, "peer %+v is kept for nothing", *p)
		}
	}
}

// auditBindings checks that each binding belongs to the identity at its NBMA address, has a
// neighbour, and has not outlived its holding time.
func (n *node) auditBindings(st *engine.InterfaceStatus) {
	for i := range st.Bindings {
		b := &st.Bindings[i]
		identity := n.wanted.identity(b.Peer)
		switch {
		case n.expired(b.Expires.UnixNano()):
			n.w.violate(ruleExpired, n, "binding %+v, now %s", *b, n.latest)
		case i > 0 && b.Protocol == st.Bindings[i-1].Protocol:
			n.w.violate(ruleOwner, n, "two bindings: %+v and %+v", st.Bindings[i-1], *b)
		case identity != "" && identity != b.Identity && n.canMark:
			n.w.violate(ruleOwner, n, "binding %+v, but %s is there", *b, identity)
		case n.wanted.neighbors[b.Protocol] != b.Peer &&
			n.cfg.Address.Addr() != b.Protocol && !n.isNHS(b):
			n.w.violate(ruleWanted, n, "binding %+v, but the neighbour is wanted at %s",
				*b, n.wanted.neighbors[b.Protocol])
		}
	}
}

// auditAnnounced checks that each hub with which a spoke is registered knows the spoke's LAN. A hub
// that cannot tell the routers behind one NAT address apart is left out: its replies go to the one
// with the newest SA, so the others' announcements count as unanswered.
func (n *node) auditAnnounced(st *engine.InterfaceStatus) {
	w := n.w
	if n.hub || !w.Announce || n.left || n.imitating || w.now < n.quietAt {
		return
	}
	for i := range st.NHS {
		x, h := &st.NHS[i], n.nhs[i]
		if x.State != engine.NHSRegistered ||
			x.Attempts > 0 ||
			w.now < h.quietAt ||
			w.now < w.pairQuiet[pairOf(n, h)] ||
			w.muddled([]*node{h}, n, n) ||
			slices.Contains(x.Announced, n.lan) {
			continue
		}
		w.violateAt("a hub that knows a router knows its networks", []*node{n, h},
			fmt.Sprintf("%s: %s is not announced at %s: %+v", n.name, n.lan, h.name, *x))
	}
}

// isNHS reports whether a binding is that of a router that is an NHS of this node as well. The NHS
// then decides where the overlay address is.
func (n *node) isNHS(b *engine.BindingStatus) bool {
	for _, h := range n.nhs {
		if h.overlay() == b.Protocol {
			return true
		}
	}
	return false
}

// expired reports whether a time has passed at which the engine must have acted. It allows the
// engine another second, since the engine is not called at once after a leap of the clock.
func (n *node) expired(at int64) bool {
	return n.latest.UnixNano() > at && n.clock().UnixNano() > at+second
}

// auditShortcuts checks that shortcuts have routes and have not outlived their holding time, and
// that every wanted route is that of a shortcut or of an announced prefix.
func (n *node) auditShortcuts(st *engine.InterfaceStatus) {
	explained := 0
	for i := range st.Bindings {
		for _, p := range st.Bindings[i].Prefixes {
			if n.wanted.routes[p] == st.Bindings[i].Protocol {
				explained++
			}
		}
	}
	for i := range st.Shortcuts {
		s := &st.Shortcuts[i]
		if s.State == engine.ShortcutResolving {
			continue
		}
		if n.expired(s.Expires.UnixNano()) {
			n.w.violate(ruleExpired, n, "shortcut %+v, now %s", *s, n.latest)
		}
		// A shortcut to a router's own overlay address needs a neighbour and no route.
		alone := s.Prefix.IsSingleIP() && s.Prefix.Addr() == s.NextHop
		if s.State == engine.ShortcutUp && !alone {
			explained += n.auditRoutes(s)
			n.auditHidden(s)
		}
	}
	if explained != len(n.wanted.routes) {
		n.w.violate(ruleWanted, n, "%d routes, %d of them are shortcuts or announced",
			len(n.wanted.routes), explained)
	}
}

// auditRoutes checks that a shortcut has the routes of its placement: all of them, unless a more
// specific shortcut has the place of a half. It returns how many there are.
func (n *node) auditRoutes(s *engine.ShortcutStatus) int {
	most, bits := 1, s.Prefix.Bits()
	if s.Placement == engine.PlacedHalves {
		most, bits = 2, bits+1
	}
	if len(s.Routes) > most || len(s.Routes) == 0 && most == 1 {
		n.w.violate(ruleWanted, n, "shortcut %+v has not the routes of its placement", *s)
	}
	for _, p := range s.Routes {
		if n.wanted.routes[p] != s.NextHop || p.Bits() != bits || !s.Prefix.Contains(p.Addr()) {
			n.w.violate(ruleWanted, n, "shortcut %+v has no route to %s", *s, p)
		}
	}
	return len(s.Routes)
}

// auditHidden checks that a shortcut hides no route of others that is at least as specific. The
// halves of a shortcut may refine a route with the same prefix through the tunnel. No route of a
// shortcut may have a prefix that others have, since a routing protocol would withdraw its own.
func (n *node) auditHidden(s *engine.ShortcutStatus) {
	for _, r := range n.base.list() {
		if r.Device == device && slices.Contains(s.Routes, r.Prefix) && !r.Prefix.IsSingleIP() {
			n.w.violate("a shortcut leaves the place of a routing protocol's prefix free", n,
				"shortcut %+v, route %+v", *s, r)
		}
		refined := r.Prefix == s.Prefix && r.Device == device
		if !refined && r.Prefix.Bits() >= s.Prefix.Bits() && s.Prefix.Contains(r.Prefix.Addr()) {
			n.w.violate("a shortcut hides no route that is not ours and at least as specific", n,
				"shortcut %+v, route %+v", *s, r)
		}
	}
}

// auditKernel checks that the kernel has what the engine wants, unless a change is under way.
func (n *node) auditKernel() {
	if n.w.now <= n.changedAt {
		return
	}
	same := maps.Equal(n.neighbors, n.wanted.neighbors) && len(n.own.routes) == len(n.wanted.routes)
	for p, via := range n.wanted.routes {
		same = same && n.own.routes[p].NextHop == via
	}
	if !same {
		n.w.violate("the kernel has what is wanted", n,
			"neighbours %v routes %v, wanted %v %v",
			n.neighbors, n.own.routes, n.wanted.neighbors, n.wanted.routes)
	}
}
