package sim

import (
	"fmt"
	"time"

	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/packet"
)

const (
	// idleEnds is the time after which everything unused must have ended. It is twice the idle
	// time, for which the end that did not initiate an SA waits, and some time for the intervals at
	// which engines read the use of peers, and for the packets that follow.
	idleEnds = 2*longestIdle + 2*time.Minute

	// watched is how long listen counts the packets of a quiet network. Every registration is
	// refreshed several times in that time.
	watched = 20 * time.Minute

	// signOfLife is how often spokes refresh registrations without IPsec, where nothing else tells
	// them that a hub is dead.
	signOfLife = 20 * time.Second
)

const ruleQuiet = "when nothing happens, only registrations are refreshed"

// quieten ends faults and traffic. Then it checks that the network comes to rest, that only
// registrations are left, and that all spokes reach each other.
func (w *world) quieten() {
	w.stopped = true
	latest := max(w.now, w.daemonsBack+w.heals())
	for _, n := range w.nodes {
		latest = max(latest, n.quietAt, n.brokenUntil+w.heals())
	}
	for _, until := range w.cuts {
		latest = max(latest, until+w.heals())
	}
	w.runUntil(latest + int64(idleEnds))
	if w.failed != nil {
		return
	}
	w.checkRest()
	w.listen()
	w.checkReach()
}

// checkRest checks that no router keeps anything but registrations.
func (w *world) checkRest() {
	for _, n := range w.nodes {
		st := n.engine.Status()[0]
		if len(st.Shortcuts) > 0 {
			w.violate(ruleQuiet, n, "shortcuts are left: %+v", st.Shortcuts)
		}
		n.checkNeighbors(&st)
		for _, p := range st.Peers {
			for _, reason := range p.Reasons {
				if reason != "nhs" && reason != "binding" {
					w.violate(ruleQuiet, n, "peer %+v is kept", p)
				}
			}
		}
		for _, e := range n.all() {
			if m := e.far.node; !n.hub && !m.hub {
				w.violateAt(ruleQuiet, []*node{n, m},
					"an SA is left between "+n.name+" and "+m.name)
			}
		}
		for i, s := range st.NHS {
			if s.State != engine.NHSRegistered && !w.muddled(n.nhs[i:i+1], n, n) {
				w.violate("everybody registers again", n, "NHS %+v", s)
			}
		}
	}
}

// listen counts the packets that routers send while nothing happens, and checks that they are only
// those of registrations.
func (w *world) listen() {
	type counts struct{ registrations, others int }
	sent := make(map[*node]*counts, len(w.nodes))
	for _, n := range w.nodes {
		c := &counts{}
		sent[n] = c
		n.overhear = func(data []byte) {
			switch t := packet.Type(data[17]); t {
			case packet.RegistrationRequest:
				c.registrations++
			case packet.RegistrationReply:
			default:
				c.others++
			}
		}
	}
	nhrp, dialled := w.NHRP, w.dialled
	w.runUntil(w.now + int64(watched))
	w.Quiet = float64(w.NHRP-nhrp) / watched.Minutes()
	if w.dialled != dialled {
		w.violate(ruleQuiet, w.hubs[0], "%d attempts to make SAs in the network", w.dialled-dialled)
	}
	for _, n := range w.nodes {
		n.overhear = nil
		refresh := n.cfg.HoldingTime / 3
		if w.Unprotected {
			refresh = min(refresh, signOfLife)
		}
		refresh = refresh * 95 / 100
		// A lost request or reply costs a repetition: with 5 % loss, one registration in ten is
		// repeated, and rarely several times. With each refresh goes another one for the prefixes.
		most := len(n.nhs) * (int(watched/refresh) + 1) * 2
		c := sent[n]
		// A hub that cannot tell the routers at an address apart may answer another one of them, so
		// that this one asks again and again: see checkRest.
		repeats := c.registrations > most+most/4+10 && !w.muddled(n.nhs, n, n)
		if c.others > 0 || repeats {
			w.violate(ruleQuiet, n,
				"sent %d registrations (%d are expected at most) and %d other packets in %s",
				c.registrations, most, c.others, watched)
		}
	}
}

const (
	// talked is how long pairs of spokes talk at the end. That is long enough for repeated
	// requests, the pause after a negative answer, and a new IKE exchange if messages of the first
	// were lost.
	talked = 2 * time.Minute

	mostPairs = 2000
)

// checkReach makes pairs of spokes talk, and checks that they reach each other. Spokes whose NATs
// allow a direct SA must reach each other directly.
func (w *world) checkReach() {
	spokes := w.spokes()
	var flows []*flow
	for i, n := range spokes[:min(len(spokes), mostPairs)] {
		f := w.newFlow(n, spokes[(i+1+w.rng.IntN(len(spokes)-1))%len(spokes)])
		f.interval, f.until = second, w.now+int64(talked)
		flows = append(flows, f)
		w.after(w.between(0, time.Second), func() { w.talk(f) })
	}
	w.runUntil(w.now + int64(talked) + second)
	for _, f := range flows {
		pair := []*node{f.from, f.to}
		if w.muddled(w.hubs, f.from, f.to) || w.muddled(pair, f.from, f.to) {
			continue // there may be no direct way, or no way at all
		}
		switch {
		case w.now-f.back.arrived > int64(talked)/4:
			w.violateAt("everybody reaches everybody", pair,
				f.from.name+" and "+f.to.name+" do not reach each other")
		case f.there.hops != 1 && f.from.finds(f.to) && f.from.meets(f.to) && f.roomy():
			w.violateAt("traffic goes directly where it can", pair,
				fmt.Sprintf("%s reaches %s over %d tunnels",
					f.from.name, f.to.name, f.there.hops))
		}
	}
}

// talk sends a flow's requests until its end.
func (w *world) talk(f *flow) {
	if w.now < f.until {
		w.ask(f)
		w.after(f.interval, func() { w.talk(f) })
	}
}

// finds reports whether a node can learn of the direct way to another node: from the hubs, if they
// send traffic indications, or from its own routes.
func (n *node) finds(m *node) bool { return n.w.hubs[0].cfg.Redirect || n.straightTo(m) }

// meets reports whether the NATs of two nodes let at least one of the two begin an exchange with
// the other.
func (n *node) meets(m *node) bool { return n.dialable() || m.dialable() }

// dialable reports whether other routers can begin an exchange with a node.
func (n *node) dialable() bool { return n.nat <= fullCone && !n.shares() }

// roomy reports whether both ends of a flow have room in their tables for many shortcuts and
// answers.
func (f *flow) roomy() bool {
	return min(f.from.cfg.Limits.Shortcuts, f.to.cfg.Limits.Answers) > 100
}
