package client

import (
	"fmt"
	"iter"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/selection"
)

// Wanted reports whether we register with an NHS or try to.
func (n *NHS) Wanted() bool { return n.ref.Peer != nil }

// inReserve reports whether we leave an NHS alone that we could try.
func (n *NHS) inReserve() bool { return n.NBMA.IsValid() && !n.Wanted() }

// enter sets what the choice among several NHSs goes by, unless that is so already.
func (n *NHS) enter(phase selection.State) {
	if n.phase == phase || !n.Wanted() {
		return
	}
	n.phase, n.phaseSince = phase, n.cl.Now
	if phase == selection.Failed && !n.standsBy() {
		n.failed = n.cl.Now
	}
	n.cl.chooseSoon()
}

// fail takes note that an NHS cannot be reached, does not answer or refuses us. We go on trying
// it, and also the next one. The name is looked up again, since the NHS may have moved.
func (n *NHS) fail() {
	if n.phase != selection.Failed && n.Wanted() {
		n.cl.Out.Resolve = append(n.cl.Out.Resolve,
			output.NHSName{Interface: n.cl.Config.Name, Name: n.Config.Name})
	}
	n.enter(selection.Failed)
}

// fail takes note that an NHS does not take a registration. The NHS has failed if it takes no
// other one either: which NHS is used depends on the router, not on the family. It has not failed
// while it may still take another one.
func (r *Registration) fail() {
	if r.siblings((*Registration).settled) || r.siblings((*Registration).waits) {
		r.review()
		return
	}
	r.NHS.fail()
}

// lost takes note that the SA with an NHS went.
func (n *NHS) lost() {
	if n.phase == selection.Connected {
		n.enter(selection.Lost)
		return
	}
	n.fail()
}

// answered takes note of an answer of an NHS to a registration.
func (r *Registration) answered() {
	switch {
	case !r.Usable():
	case r.unusable != "":
		r.fail()
	case r.settled():
		r.review()
	}
}

// settled reports whether an NHS has registered us and all our prefixes, or has said that it does
// not take them. One that leaves the prefixes unanswered may know none.
func (r *Registration) settled() bool {
	a := &r.announcement
	return r.Usable() && !r.refused && r.unusable == "" &&
		(!a.awaiting || a.attempts >= TriesPerAddr)
}

// review takes note that an NHS is connected if one of our registrations with it is settled, and no
// other one still waits for its first answer.
func (n *NHS) review() {
	if n.any((*Registration).settled) && !n.any((*Registration).waits) {
		n.enter(selection.Connected)
	}
}

// chooseSoon has chooseNHSs run at the end of the call into the engine.
func (cl *Client) chooseSoon() {
	if !cl.choosing {
		cl.choosing = true
		cl.AtEnd(cl.chooseNHSs)
	}
}

// chooseNHSs decides which NHSs we use, which we try, and which we leave alone. Relays of an NHS
// that we do not use any more move to those that we use.
func (cl *Client) chooseNHSs() {
	cl.choosing = false
	cl.Timers.Stop(&cl.choice)
	if cl.Left {
		return
	}
	var candidates []selection.Candidate
	var servers []*NHS
	for _, n := range cl.NHS {
		if n.NBMA.IsValid() {
			candidates, servers = append(candidates, n.candidate()), append(servers, n)
		}
	}
	roles, next := selection.Choose(cl.Now, cl.selectionRules(), candidates)
	changed := false
	before := make([]selection.Role, len(servers))
	for i, n := range servers {
		changed = changed || roles[i] == selection.Use && n.role != selection.Use
		before[i], n.role = n.role, roles[i]
	}
	for i, n := range servers {
		switch {
		case n.role == selection.Reserve:
		case !n.Wanted():
			n.try()
		case before[i] == selection.Standby && !n.standsBy():
			n.begin()
		}
	}
	for i, n := range servers {
		switch {
		case n.role == selection.Reserve && n.Wanted():
			n.rest()
		case n.standsBy() && before[i] != selection.Standby && before[i] != selection.Reserve:
			n.standBy()
		case n.role == selection.Use:
		case n.any((*Registration).askedAway) && n.mayGoAway(&next):
			n.goAway()
		case changed:
			cl.Parts.MoveRelaysFrom(n.ID())
		}
	}
	if !next.IsZero() {
		cl.choice.Run = cl.chooseNHSs
		cl.Timers.Set(&cl.choice, next)
	}
}

// candidate returns what the choice has to know of an NHS.
func (n *NHS) candidate() selection.Candidate {
	c := selection.Candidate{
		Priority: n.Config.Priority,
		Cluster:  n.Config.Cluster,
		Router:   n.Router(),
		State:    n.phase,
		Since:    n.phaseSince,
		InUse:    n.role == selection.Use,
	}
	if n.limited() {
		c.Weight = selection.Weight(n.cl.Address(), n.NBMA)
	}
	if n.name != 0 {
		c.Name, c.IPv4, c.Active = n.name, n.NBMA.Is4(), n.Wanted() && !n.standsBy()
		c.Ready, c.Failed = n.answersSince(), n.failed
	}
	return c
}

// limited reports whether not all NHSs of the NHS's cluster may be used.
func (n *NHS) limited() bool {
	_, limited := n.cl.Config.MaxConnections[n.Config.Cluster]
	return limited
}

func (cl *Client) selectionRules() selection.Rules {
	return selection.Rules{
		MaxConnections: cl.Config.MaxConnections,
		FallbackDelay:  cl.Config.FallbackDelay,
	}
}

// try begins to register with an NHS. It has its SA made, which is there already if something else
// needs it.
func (n *NHS) try() {
	for _, r := range n.Registrations {
		r.err = ""
	}
	n.cl.Peers.Refer(&n.ref, n.cl.Peers.At(n.ID()), peers.ForNHS, true)
	n.cl.Admissions.Admit(&n.Admission, n.ID(), admission.As{NHS: true})
	if n.cl.Peers.Secured(n.ID()) {
		n.noteSecured()
	}
	n.begin()
}

// begin begins to register with an NHS that is wanted, unless it is to stand by.
func (n *NHS) begin() {
	n.phase, n.phaseSince = selection.Trying, n.cl.Now
	n.cl.RegisterAnew(n)
}

// rest ends everything that we have with an NHS that is in reserve from now on.
func (n *NHS) rest() {
	asked := n.any(func(r *Registration) bool { return r.awaiting })
	defer func() {
		if asked {
			n.registerWithOtherVersion()
		}
	}()
	if n.any(func(r *Registration) bool { return r.Registered }) {
		n.cl.Notice(output.Notice{Kind: output.NoticeReserve, NextHop: n.Router(), Peer: n.ID(),
			Reason: n.whyReserve()})
	}
	n.leaveAlone()
}

// askedAway reports whether an NHS that has registered us refuses to renew the registration.
func (r *Registration) askedAway() bool { return r.Registered && r.refused }

// goAway takes our registrations back from an NHS that asked us away, now that another NHS is used
// in its place. We go on trying whether it has room again.
func (n *NHS) goAway() {
	n.takeBack()
	for _, r := range n.Registrations {
		r.Registered = false
		r.keepNeighbor()
		r.forgetAnnouncement()
	}
	n.cl.Parts.MoveRelaysFrom(n.ID())
}

// takeBack takes our registrations back from an NHS. If the NHS is registered with at another
// address, too, it keeps them: they are one and the same.
func (n *NHS) takeBack() {
	if !n.cl.LocalFor(n.NBMA).IsValid() || n.sameRouter() {
		return
	}
	for _, r := range n.Registrations {
		if r.Usable() {
			n.cl.purgeRegistration(r)
		}
	}
}

// mayGoAway reports whether another NHS of the NHS's cluster has been in use for the fallback
// delay, in which routing protocols find it. If one has not yet, *next becomes that time, unless
// something else is due earlier.
func (n *NHS) mayGoAway(next *time.Time) bool {
	for _, other := range n.cl.NHS {
		if other.Config.Cluster != n.Config.Cluster || other.role != selection.Use ||
			other.phase != selection.Connected {
			continue
		}
		due := other.phaseSince.Add(n.cl.Config.FallbackDelay)
		if !n.cl.Now.Before(due) {
			return true
		}
		if next.IsZero() || due.Before(*next) {
			*next = due
		}
	}
	return false
}

// neighborGrace is how long the neighbour of an NHS outlives our registration with it. A routing
// protocol notices by the silence of the NHS that routes through it have ended, and until then the
// kernel sends there. The NHS takes our data for just as long.
const neighborGrace = 10 * time.Second

// keepNeighbor withdraws the neighbour of an NHS that we are not registered with any more, after
// neighborGrace.
func (r *Registration) keepNeighbor() {
	r.grace.Run = func() { r.cl.Neighbors.Withdraw(&r.neighbor) }
	r.cl.Timers.Set(&r.grace, r.cl.Now.Add(neighborGrace))
}

// whyReserve returns why an NHS that answers is not used.
func (n *NHS) whyReserve() string {
	if n.any(func(r *Registration) bool { return r.byOtherVersion((*Registration).Usable) }) {
		return "it is reached over the other IP version again"
	}
	if n.sameRouter() {
		return "it is the same router as an NHS that is in use"
	}
	return fmt.Sprintf("better ones of its cluster are in use, as many as there may be (%d)",
		n.cl.Config.MaxConnections[n.Config.Cluster])
}

// sameRouter reports whether another NHS that we register with is the same router.
func (n *NHS) sameRouter() bool {
	for _, other := range n.cl.NHS {
		if other != n && other.Wanted() && !other.standsBy() && n.any(func(r *Registration) bool {
			return r.Protocol.IsValid() && other.has(r.Protocol)
		}) {
			return true
		}
	}
	return false
}

// leaveAlone takes back our registrations with an NHS and ends everything that we have with it. The
// SA ends when it is not used any more.
func (n *NHS) leaveAlone() {
	n.takeBack()
	for _, r := range n.Registrations {
		r.end()
	}
	n.Public = netip.Addr{}
	if n.NBMA.IsValid() {
		n.cl.Parts.MoveRelaysFrom(n.ID())
	}
	n.cl.Admissions.Dismiss(&n.Admission)
	n.cl.Peers.Release(&n.ref)
	n.ready = time.Time{}
	n.role, n.phase, n.phaseSince = selection.Reserve, selection.Idle, time.Time{}
}

// end ends the registration and everything that follows from it. The neighbour of an NHS that has
// registered us stays for neighborGrace.
func (r *Registration) end() {
	secured := r.Usable()
	r.Registered, r.refused, r.denied, r.awaiting = false, false, false, false
	r.attempts, r.silent, r.quiet, r.err, r.unusable = 0, 0, 0, "", ""
	r.translated = false
	r.stopRegistering()
	r.forgetAnnouncement()
	if secured && !r.cl.Left {
		r.keepNeighbor()
	} else {
		r.cl.Neighbors.Withdraw(&r.neighbor)
	}
}

// Usable yields the registrations with the NHSs through which we may send requests of our own with
// the IP version of dest: first those with the NHSs that we use, then those with the others that
// have registered us.
func (cl *Client) Usable(dest netip.Addr) iter.Seq[*Registration] {
	return func(yield func(*Registration) bool) {
		for _, inUse := range [2]bool{true, false} {
			for r := range cl.registrations() {
				if r.Usable() && r.own.Is4() == dest.Is4() &&
					(r.role == selection.Use) == inUse && !yield(r) {
					return
				}
			}
		}
	}
}

// uses has what the status says for each role.
var uses = map[selection.Role]report.NHSUse{
	selection.Reserve: report.UseReserve,
	selection.Probe:   report.UseProbing,
	selection.Connect: report.UseConnecting,
	selection.Return:  report.UseReturning,
	selection.Use:     report.UseInUse,
}

// use returns what we do with an NHS, for people and programs. Where all NHSs of a cluster are
// used, none is tried in the place of another.
func (n *NHS) use() report.NHSUse {
	if n.standsBy() {
		return n.useOnStandby()
	}
	if n.role == selection.Probe && !n.limited() {
		return report.UseConnecting
	}
	return uses[n.role]
}
