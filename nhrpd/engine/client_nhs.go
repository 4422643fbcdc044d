package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/timers"
)

// nhs is our registration with one next hop server (RFC 2332 §5.2.3).
type nhs struct {
	unaffected

	ifc   *iface
	cfg   NHSConfig
	addrs []netip.Addr // of its name, best first
	nbma  netip.Addr   // the one in use; zero: none
	ref   peerRef

	protocol   netip.Addr // its overlay address: configured or learned; zero: not known yet
	neighbor   neighborClaim
	admission  admission
	public     netip.Addr // as it sees us, when that is another address than ours
	registered bool
	refused    bool
	denied     bool // who is at its address may not be it
	awaiting   bool // a request is out
	told       bool // an Error Indication says what is wrong with it
	requestID  uint32
	sentNBMA   netip.Addr // source address of the request
	asked      time.Time  // when the request that is out went first, or an error answered it
	attempts   int        // unanswered requests in a row
	silent     int        // likewise, whichever of its NBMA addresses they went to
	quiet      int        // likewise, without a reported error since
	since      time.Time  // of the last reply
	expires    time.Time
	next       time.Time // when the next request goes
	err        string
	unusable   string // why it cannot be used although it registered us
	timer      timers.Timer

	announcement announcement
}

const (
	retryFirst    = time.Second
	retryMost     = time.Minute
	retryJitter   = 25 // percent
	refreshJitter = 5  // percent
	triesPerAddr  = 3  // unanswered requests after which the next address is tried
)

func (e *Engine) newNHS(ifc *iface, cfg NHSConfig) *nhs {
	n := &nhs{ifc: ifc, cfg: cfg, protocol: cfg.Protocol}
	n.ref.owner = n
	n.timer.Run = func() { e.registrationDue(n) }
	n.announcement.timer.Run = func() { e.announceDue(n) }
	return n
}

// state is how far the registration is.
func (n *nhs) state() NHSState {
	switch {
	case !n.nbma.IsValid():
		return NHSUnresolved
	case !n.ifc.secured(n.nbma) || n.denied:
		return NHSSecuring
	case n.refused:
		return NHSRefused
	case n.registered:
		return NHSRegistered
	}
	return NHSRegistering
}

// usable reports whether requests may be sent through it.
func (n *nhs) usable() bool { return n.registered && n.ifc.secured(n.nbma) }

// nhsResolved takes the addresses of a name. While a name cannot be resolved, the address in use
// stays.
func (e *Engine) nhsResolved(ifc *iface, name string, addrs []netip.Addr) {
	for _, n := range ifc.nhs {
		if n.cfg.Name != name {
			continue
		}
		if len(addrs) == 0 && n.nbma.IsValid() {
			continue
		}
		n.addrs = slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return !a.IsValid() })
		if !ifc.left {
			e.useResolved(n)
		}
	}
}

// useResolved goes to the best address that we can send to, unless the one in use is still among
// them.
func (e *Engine) useResolved(n *nhs) {
	usable := n.reachable()
	switch {
	case len(usable) == 0 && len(n.addrs) > 0:
		e.noneReachable(n)
	case len(usable) > 0 && !slices.Contains(usable, n.nbma):
		if !n.nbma.IsValid() {
			n.err = ""
		}
		e.useAddress(n, usable[0])
	}
}

// reachable are the addresses of the name that are of our own address's family, all as long as we
// never had one.
func (n *nhs) reachable() []netip.Addr {
	var usable []netip.Addr
	for _, a := range n.addrs {
		if n.ifc.sendsTo(a) {
			usable = append(usable, a)
		}
	}
	return usable
}

// sendsTo reports whether the tunnel can send to an address: it is of the family of our own.
func (ifc *iface) sendsTo(nbma netip.Addr) bool {
	return !ifc.known.IsValid() || nbma.Is4() == ifc.known.Is4()
}

// noneReachable says why there is nowhere to register. As while a name cannot be resolved, a good
// address in use stays.
func (e *Engine) noneReachable(n *nhs) {
	if n.nbma.IsValid() && n.ifc.sendsTo(n.nbma) {
		return
	}
	reason := fmt.Sprintf("its name has no address that the tunnel can send to from %s, only such as %s, of another IP version", n.ifc.known, n.addrs[0])
	known := n.err == reason
	e.dropNHS(n)
	n.err = reason
	if !known {
		e.notice(n.ifc, Notice{Kind: NoticeUnanswered, NBMA: n.addrs[0], Reason: "the NHS cannot be asked: " + reason})
	}
}

// useNextAddress goes to the next of several addresses.
func (e *Engine) useNextAddress(n *nhs) {
	usable := n.reachable()
	if i := slices.Index(usable, n.nbma); len(usable) > 1 {
		e.useAddress(n, usable[(i+1)%len(usable)])
	}
}

// useAddress goes to another address of the NHS. The neighbour at the one before goes now: no
// reference to that one is left that would end it with the SA.
func (e *Engine) useAddress(n *nhs, nbma netip.Addr) {
	e.dropNeighbor(&n.neighbor)
	if n.nbma.IsValid() {
		e.dropRelaysBy(n.ifc, n.nbma)
	}
	n.nbma, n.registered, n.refused, n.public = nbma, false, false, netip.Addr{}
	e.refer(&n.ref, e.peerAt(n.ifc, nbma), reasonNHS, true)
	e.admit(&n.admission, n.ifc, nbma, admittedAs{nhs: true})
	e.registerAnew(n)
}

// registerAnew sends a registration now, if that is possible.
func (e *Engine) registerAnew(n *nhs) {
	n.attempts, n.quiet, n.awaiting = 0, 0, false
	e.stopRegistering(n)
	e.forgetAnnouncement(n)
	if o := e.objectToNHS(n); o.Raised() {
		e.denyNHS(n, o)
		return
	}
	if n.denied {
		n.denied = false
		e.admit(&n.admission, n.ifc, n.nbma, admittedAs{nhs: true})
	}
	if !n.ifc.left && n.nbma.IsValid() && n.ifc.local.IsValid() && n.ifc.secured(n.nbma) {
		e.register(n)
	}
}

// objectToNHS says why who is at the address of an NHS may not be it.
func (e *Engine) objectToNHS(n *nhs) objection.Objection {
	if !n.protocol.IsValid() {
		return n.ifc.objectTo(n.nbma)
	}
	return n.ifc.objectToBeing(n.nbma, n.protocol)
}

// denyNHS leaves an NHS alone until it has another SA, or other rules.
func (e *Engine) denyNHS(n *nhs, o objection.Objection) {
	reason := "who is at the NHS's address may not be it: " + o.Text
	if n.err != reason {
		n.err = reason
		e.notice(n.ifc, Notice{Kind: NoticeRefused, NextHop: n.protocol, NBMA: n.nbma, Reason: reason})
	}
	e.dropNeighbor(&n.neighbor)
	e.dropRelaysBy(n.ifc, n.nbma)
	e.dismiss(&n.admission)
	e.endAdmission(n.ifc, n.nbma)
	n.denied, n.registered, n.refused, n.awaiting = true, false, false, false
	e.stopRegistering(n)
	e.forgetAnnouncement(n)
}

func (e *Engine) stopRegistering(n *nhs) {
	n.next = time.Time{}
	e.timers.Stop(&n.timer)
}

// register sends a request, or sends the one that is out again, and sets the time of the next.
func (e *Engine) register(n *nhs) {
	if !n.awaiting {
		n.awaiting, n.requestID, n.asked = true, e.newRequestID(), e.now
	}
	n.sentNBMA = n.ifc.local
	e.sendRegistration(n)
	e.registerIn(n, e.requestWait(n))
}

// retryWait is how long to wait for an answer after so many attempts in vain: longer and longer,
// but so that several attempts fit into a holding time. A few lost packets are to cost no
// registration.
func (e *Engine) retryWait(ifc *iface, attempts int) time.Duration {
	most := max(retryFirst, min(retryMost, ifc.cfg.HoldingTime/6))
	return e.jittered(min(retryFirst<<min(attempts, 6), most), retryJitter)
}

func (e *Engine) registerIn(n *nhs, d time.Duration) {
	n.next = e.now.Add(d)
	e.timers.Set(&n.timer, n.next)
}

// registrationDue sends a refresh, or repeats a request that was not answered.
func (e *Engine) registrationDue(n *nhs) {
	if n.awaiting {
		e.unanswered(n)
	}
	if !n.ifc.secured(n.nbma) || !n.ifc.local.IsValid() {
		e.stopRegistering(n)
		return
	}
	if !n.awaiting || n.attempts > 0 {
		e.register(n)
	}
}

func (e *Engine) unanswered(n *nhs) {
	n.attempts++
	n.silent++
	n.quiet++
	if n.told {
		n.asked, n.quiet = e.now, 0
	}
	lost := n.isLost(e.now)
	if lost {
		e.loseNHS(n)
	}
	if n.quiet == triesPerAddr {
		n.err, n.refused = silentNHS, false // what it said before may not be so any more
		e.notice(n.ifc, Notice{Kind: NoticeUnanswered, NextHop: n.protocol, NBMA: n.nbma,
			Reason: "the NHS does not answer our registrations; trying on"})
	}
	n.told = false
	if lost || n.attempts%triesPerAddr == 0 && !n.registered {
		e.useNextAddress(n)
	}
}

// peerSecured registers as soon as the SA is there: the NHS may have forgotten us.
func (n *nhs) peerSecured(e *Engine) {
	n.err = "" // why there was no SA is over
	e.registerAnew(n)
}

func (n *nhs) peerLost(e *Engine, reason string) {
	n.awaiting, n.attempts, n.silent, n.quiet, n.registered = false, 0, 0, 0, false
	e.moveRelaysFrom(n.ifc, n.nbma)
	n.err = reason
	e.stopRegistering(n)
	e.forgetAnnouncement(n)
}

// peerLostForGood withdraws the way to the NHS. Registration is tried on.
func (n *nhs) peerLostForGood(e *Engine) { e.dropNeighbor(&n.neighbor) }

func (n *nhs) peerFailed(e *Engine) {
	n.err = n.ref.peer.err
	e.useNextAddress(n)
}

// peerRenewed registers again: with its SA the NHS may have lost the registration.
func (n *nhs) peerRenewed(e *Engine) { e.registerAnew(n) }

func (n *nhs) peerBarred(e *Engine, _ string) { n.peerFailed(e) }

// rulesChanged leaves the NHS alone if who is there may not be it any more.
func (n *nhs) rulesChanged(e *Engine, _ *peer) {
	if o := e.objectToNHS(n); o.Raised() {
		e.denyNHS(n, o)
	}
}

func (n *nhs) router() netip.Addr { return n.protocol }

// dropNHS forgets an NHS. It is told so if it knows of us.
func (e *Engine) dropNHS(n *nhs) {
	if n.nbma.IsValid() {
		e.dropRelaysBy(n.ifc, n.nbma)
	}
	if n.usable() && n.ifc.local.IsValid() {
		e.purgeRegistration(n)
	}
	n.registered, n.refused, n.denied, n.awaiting, n.attempts, n.public = false, false, false, false, 0, netip.Addr{}
	n.nbma, n.protocol, n.silent, n.err = netip.Addr{}, n.cfg.Protocol, 0, ""
	e.stopRegistering(n)
	e.forgetAnnouncement(n)
	e.dropNeighbor(&n.neighbor)
	e.dismiss(&n.admission)
	e.release(&n.ref)
}
