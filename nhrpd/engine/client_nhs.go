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
	addrs []netip.Addr // the addresses of cfg.Name, best first
	nbma  netip.Addr   // the address in use; zero: none
	ref   peerRef

	protocol   netip.Addr // its overlay address: configured or learned; zero: not known yet
	neighbor   neighborClaim
	admission  admission
	public     netip.Addr // our NBMA address as the NHS sees it, where NAT changes it
	registered bool
	refused    bool
	denied     bool // the rules do not let the router at its address be this NHS
	awaiting   bool // a request waits for its reply
	told       bool // an Error Indication has said what is wrong with the request
	requestID  uint32
	sentNBMA   netip.Addr // source address of the request
	asked      time.Time  // when the request that waits went out first, or an error answered it
	attempts   int        // unanswered or refused requests in a row
	silent     int        // unanswered requests in a row, to any of its NBMA addresses
	quiet      int        // unanswered requests in a row since the last reported error
	since      time.Time  // when the NHS last accepted our registration
	expires    time.Time  // when the registration expires
	next       time.Time  // when the next request goes
	err        string
	// why no packet can be sent to it although it registered us; empty: one can
	unusable string
	timer    timers.Timer

	announcement announcement
}

const (
	retryFirst    = time.Second
	retryMost     = time.Minute
	retryJitter   = 25 // percent
	refreshJitter = 5  // percent
	triesPerAddr  = 3  // after so many unanswered requests we try the next address
)

// newNHS returns an NHS of the configuration, with no address and no registration yet.
func (e *Engine) newNHS(ifc *iface, cfg NHSConfig) *nhs {
	n := &nhs{ifc: ifc, cfg: cfg, protocol: cfg.Protocol}
	n.ref.owner = n
	n.timer.Run = func() { e.registrationDue(n) }
	n.announcement.timer.Run = func() { e.announceDue(n) }
	return n
}

// state returns how far the registration has come.
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

// usable reports whether we may send requests through the NHS.
func (n *nhs) usable() bool { return n.registered && n.ifc.secured(n.nbma) }

// nhsResolved takes the addresses that a configured name resolves to. While the name resolves to
// none, we keep using the address that we have.
func (e *Engine) nhsResolved(ifc *iface, name string, addrs []netip.Addr) {
	for _, n := range ifc.nhs {
		if n.cfg.Name != name {
			continue
		}
		if len(addrs) == 0 && n.nbma.IsValid() {
			continue
		}
		n.addrs = slices.DeleteFunc(slices.Clone(addrs),
			func(a netip.Addr) bool { return !a.IsValid() })
		if !ifc.left {
			e.useResolved(n)
		}
	}
}

// useResolved changes to the best address that the tunnel can send to. It keeps the address in use
// if the name still resolves to that one too.
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

// reachable returns those addresses of the NHS's name that are of the same IP version as our own
// address. It returns all of them as long as we have never had an address.
func (n *nhs) reachable() []netip.Addr {
	var usable []netip.Addr
	for _, a := range n.addrs {
		if n.ifc.sendsTo(a) {
			usable = append(usable, a)
		}
	}
	return usable
}

// sendsTo reports whether the tunnel can send to an address: that address and our own are of the
// same IP version.
func (ifc *iface) sendsTo(nbma netip.Addr) bool {
	return !ifc.known.IsValid() || nbma.Is4() == ifc.known.Is4()
}

// noneReachable reports why we cannot register: the name has no address that the tunnel can send
// to. As in nhsResolved, we keep using an address that the tunnel can send to.
func (e *Engine) noneReachable(n *nhs) {
	if n.nbma.IsValid() && n.ifc.sendsTo(n.nbma) {
		return
	}
	reason := fmt.Sprintf(
		"its name has no address that the tunnel can send to from %s, only such as %s, of another IP version",
		n.ifc.known, n.addrs[0])
	known := n.err == reason
	e.dropNHS(n)
	n.err = reason
	if !known {
		e.notice(n.ifc, Notice{Kind: NoticeUnanswered, NBMA: n.addrs[0],
			Reason: "the NHS cannot be asked: " + reason})
	}
}

// useNextAddress changes to the next address of the NHS, if the name has several.
func (e *Engine) useNextAddress(n *nhs) {
	usable := n.reachable()
	if i := slices.Index(usable, n.nbma); len(usable) > 1 {
		e.useAddress(n, usable[(i+1)%len(usable)])
	}
}

// useAddress changes to another address of the NHS. It withdraws the neighbour at the old address
// at once: the NHS's peer reference moves to the new address, so the loss of the old SA would no
// longer withdraw that neighbour.
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

// registerAnew registers with an NHS from the start. The request goes out at once if the NHS has an
// address, we have one, and the SA that IPsec requires is up.
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

// objectToNHS returns why the router at the address of an NHS may not be that NHS.
func (e *Engine) objectToNHS(n *nhs) objection.Objection {
	if !n.protocol.IsValid() {
		return n.ifc.objectTo(n.nbma)
	}
	return n.ifc.objectToBeing(n.nbma, n.protocol)
}

// denyNHS stops using an NHS because the router at its address may not be that NHS. We do not
// register there again before the address has another SA or the rules change.
func (e *Engine) denyNHS(n *nhs, o objection.Objection) {
	reason := "who is at the NHS's address may not be it: " + o.Text
	if n.err != reason {
		n.err = reason
		e.notice(n.ifc, Notice{Kind: NoticeRefused, NextHop: n.protocol, NBMA: n.nbma,
			Reason: reason})
	}
	e.dropNeighbor(&n.neighbor)
	e.dropRelaysBy(n.ifc, n.nbma)
	e.dismiss(&n.admission)
	e.endAdmission(n.ifc, n.nbma)
	n.denied, n.registered, n.refused, n.awaiting = true, false, false, false
	e.stopRegistering(n)
	e.forgetAnnouncement(n)
}

// stopRegistering sends no further request until registerIn sets the time of one.
func (e *Engine) stopRegistering(n *nhs) {
	n.next = time.Time{}
	e.timers.Stop(&n.timer)
}

// register sends a new Registration Request, or repeats the one that waits for its reply. It also
// sets when the next request goes.
func (e *Engine) register(n *nhs) {
	if !n.awaiting {
		n.awaiting, n.requestID, n.asked = true, e.newRequestID(), e.now
	}
	n.sentNBMA = n.ifc.local
	e.sendRegistration(n)
	e.registerIn(n, e.requestWait(n))
}

// retryWait returns how long to wait for a reply after so many attempts that had none. The wait
// grows, but stays short enough for several attempts within a holding time: a few lost packets must
// not cost us a registration.
func (e *Engine) retryWait(ifc *iface, attempts int) time.Duration {
	most := max(retryFirst, min(retryMost, ifc.cfg.HoldingTime/6))
	return e.jittered(min(retryFirst<<min(attempts, 6), most), retryJitter)
}

// registerIn sets that the next request goes after d.
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

// unanswered counts a request that the NHS did not answer in time. Depending on the counts it
// reports the silence, treats the NHS as lost, or tries the next address of the NHS.
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
		n.err, n.refused = silentNHS, false // a refusal from before may not hold any more
		e.notice(n.ifc, Notice{
			Kind: NoticeUnanswered, NextHop: n.protocol, NBMA: n.nbma,
			Reason: "the NHS does not answer our registrations; trying on"})
	}
	n.told = false
	if lost || n.attempts%triesPerAddr == 0 && !n.registered {
		e.useNextAddress(n)
	}
}

// peerSecured registers as soon as the NHS has an SA: the NHS may have forgotten us meanwhile.
func (n *nhs) peerSecured(e *Engine) {
	n.err = "" // it said why there was no SA
	e.registerAnew(n)
}

// peerLost stops registering until the NHS has an SA again. The neighbour of the NHS stays for now.
func (n *nhs) peerLost(e *Engine, reason string) {
	n.awaiting, n.attempts, n.silent, n.quiet, n.registered = false, 0, 0, 0, false
	e.moveRelaysFrom(n.ifc, n.nbma)
	n.err = reason
	e.stopRegistering(n)
	e.forgetAnnouncement(n)
}

// peerLostForGood withdraws the neighbour of an NHS whose SA has not come back. The engine goes on
// securing the NHS, and registers when it has an SA.
func (n *nhs) peerLostForGood(e *Engine) { e.dropNeighbor(&n.neighbor) }

// peerFailed tries the next address of an NHS that could not be secured.
func (n *nhs) peerFailed(e *Engine) {
	n.err = n.ref.peer.err
	e.useNextAddress(n)
}

// peerRenewed registers again: the NHS may have lost our registration together with the old SA.
func (n *nhs) peerRenewed(e *Engine) { e.registerAnew(n) }

// peerBarred tries the next address of an NHS whose router may do nothing here.
func (n *nhs) peerBarred(e *Engine, _ string) { n.peerFailed(e) }

// rulesChanged stops using the NHS if the rules no longer let the router at its address be that
// NHS.
func (n *nhs) rulesChanged(e *Engine, _ *peer) {
	if o := e.objectToNHS(n); o.Raised() {
		e.denyNHS(n, o)
	}
}

// router returns the overlay address of the NHS.
func (n *nhs) router() netip.Addr { return n.protocol }

// dropNHS forgets an NHS. It first takes back our registration there, if the NHS has one.
func (e *Engine) dropNHS(n *nhs) {
	if n.nbma.IsValid() {
		e.dropRelaysBy(n.ifc, n.nbma)
	}
	if n.usable() && n.ifc.local.IsValid() {
		e.purgeRegistration(n)
	}
	n.registered, n.refused, n.denied, n.awaiting, n.attempts, n.public =
		false, false, false, false, 0, netip.Addr{}
	n.nbma, n.protocol, n.silent, n.err = netip.Addr{}, n.cfg.Protocol, 0, ""
	e.stopRegistering(n)
	e.forgetAnnouncement(n)
	e.dropNeighbor(&n.neighbor)
	e.dismiss(&n.admission)
	e.release(&n.ref)
}
