package sim

import (
	"fmt"
	"maps"
	"slices"

	"cygnet/nhrpd/engine"
)

// audit checks everything, each virtual minute.
func (w *world) audit() {
	for _, n := range w.nodes {
		if n.daemonUp && w.failed == nil {
			n.audit()
		}
	}
	w.auditBound()
}

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

func (n *node) auditTables(st *engine.InterfaceStatus) {
	l := n.cfg.Limits
	peers := l.Bindings + l.Answers + l.Shortcuts + len(n.cfg.NHS) + len(n.ends)
	if len(st.Bindings) > l.Bindings || len(st.Shortcuts) > l.Shortcuts || len(st.Peers) > peers {
		n.w.violate(ruleLimits, n, "%d bindings, %d shortcuts, %d peers", len(st.Bindings), len(st.Shortcuts), len(st.Peers))
	}
	for i := range st.Peers {
		p := &st.Peers[i]
		if secured := n.mayReach(p.NBMA); secured != (p.State == engine.StateSecured) && !n.left {
			n.w.violate("the engine knows who is secured", n, "peer %+v, told %v", *p, secured)
		}
		if len(p.Interest) == 0 && n.wanted.known[p.NBMA] == "" {
			n.w.violate(ruleLimits, n, "peer %+v is kept for nothing", *p)
		}
	}
}

func (n *node) auditBindings(st *engine.InterfaceStatus) {
	for i := range st.Bindings {
		b := &st.Bindings[i]
		identity := n.wanted.identity(b.NBMA)
		switch {
		case n.expired(b.Expires.UnixNano()):
			n.w.violate(ruleExpired, n, "binding %+v, now %s", *b, n.latest)
		case i > 0 && b.Protocol == st.Bindings[i-1].Protocol:
			n.w.violate(ruleOwner, n, "two bindings: %+v and %+v", st.Bindings[i-1], *b)
		case identity != "" && identity != b.Identity && n.canMark:
			n.w.violate(ruleOwner, n, "binding %+v, but %s is there", *b, identity)
		case n.wanted.neighbors[b.Protocol] != b.NBMA && n.cfg.Address.Addr() != b.Protocol && !n.isNHS(b):
			n.w.violate(ruleWanted, n, "binding %+v, but the neighbour is wanted at %s", *b, n.wanted.neighbors[b.Protocol])
		}
	}
}

// auditAnnounced looks for a LAN that a hub which has its spoke registered does not know.
func (n *node) auditAnnounced(st *engine.InterfaceStatus) {
	w := n.w
	if n.hub || !w.Announce || n.left || n.imitating || w.now < n.quietAt {
		return
	}
	for i := range st.NHS {
		x, h := &st.NHS[i], n.nhs[i]
		if x.State != engine.NHSRegistered || x.Attempts > 0 || w.now < h.quietAt || w.now < w.pairQuiet[pairOf(n, h)] || slices.Contains(x.Announced, n.lan) {
			continue
		}
		w.violateAt("a hub that knows a router knows its networks", []*node{n, h}, fmt.Sprintf("%s: %s is not announced at %s: %+v", n.name, n.lan, h.name, *x))
	}
}

// isNHS says whether a binding is that of a router that is our NHS as well, whose entry counts for more.
func (n *node) isNHS(b *engine.BindingStatus) bool {
	for _, h := range n.nhs {
		if h.overlay() == b.Protocol {
			return true
		}
	}
	return false
}

// expired leaves the engine a moment, since it is not called at once after a leap of the clock.
func (n *node) expired(at int64) bool {
	return n.latest.UnixNano() > at && n.clock().UnixNano() > at+second
}

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
		alone := s.Prefix.IsSingleIP() && s.Prefix.Addr() == s.NextHop // its neighbour is all that it needs
		if s.State == engine.ShortcutUp && !alone {
			explained++
			if n.wanted.routes[s.Prefix] != s.NextHop {
				n.w.violate(ruleWanted, n, "shortcut %+v has no route", *s)
			}
			n.auditHidden(s)
		}
	}
	if explained != len(n.wanted.routes) {
		n.w.violate(ruleWanted, n, "%d routes, %d of them are shortcuts or announced", len(n.wanted.routes), explained)
	}
}

// auditHidden looks for routes that a shortcut hides.
func (n *node) auditHidden(s *engine.ShortcutStatus) {
	for _, r := range n.base.list() {
		refined := r.Prefix == s.Prefix && r.Device == device
		if !refined && r.Prefix.Bits() >= s.Prefix.Bits() && s.Prefix.Contains(r.Prefix.Addr()) {
			n.w.violate("a shortcut hides no route that is not ours and at least as specific", n, "shortcut %+v, route %+v", *s, r)
		}
	}
}

// auditKernel compares what is wanted with what is there, when no change is under way.
func (n *node) auditKernel() {
	if n.w.now <= n.changedAt {
		return
	}
	same := maps.Equal(n.neighbors, n.wanted.neighbors) && len(n.own.routes) == len(n.wanted.routes)
	for p, via := range n.wanted.routes {
		same = same && n.own.routes[p].NextHop == via
	}
	if !same {
		n.w.violate("the kernel has what is wanted", n, "neighbours %v routes %v, wanted %v %v", n.neighbors, n.own.routes, n.wanted.neighbors, n.wanted.routes)
	}
}
