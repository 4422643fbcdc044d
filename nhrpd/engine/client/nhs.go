package client

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
)

// NHS is our registration with one next hop server (RFC 2332 §5.2.3). doc/peer-and-shortcut.md has
// its states.
type NHS struct {
	peers.Unaffected

	cl *Client

	// Config is the NHS as it is configured.
	Config overlay.NHSConfig
	// Addrs are the addresses to which Config.Name resolved last, best first.
	Addrs []netip.Addr
	// NBMA is the address in use. It is the zero address if there is none.
	NBMA netip.Addr
	// Protocol is the overlay address of the NHS, configured or learned. It is the zero address
	// while it is not known.
	Protocol netip.Addr
	// Public is our NBMA address as the NHS sees it, where NAT changes it; else the zero address.
	Public netip.Addr
	// Registered reports whether the NHS has accepted our registration, and we may rely on that.
	Registered bool
	// Admission is the reason to take data from the NHS. It ends while the rules deny the NHS.
	Admission admission.Reason

	ref      peers.Ref
	neighbor neighbors.Claim

	refused       bool // the NHS has refused our registration
	denied        bool // the rules do not let the router at the address be this NHS
	awaiting      bool // a request waits for its reply
	errorReported bool // an Error Indication has said what is wrong with the request

	requestID uint32     // of the last request
	sentNBMA  netip.Addr // source address of the last request
	asked     time.Time  // when the request that waits went out first, or an error answered it
	attempts  int        // unanswered or refused requests in a row
	silent    int        // unanswered requests in a row, to any of the NHS's addresses
	quiet     int        // unanswered requests in a row since the last Error Indication
	since     time.Time  // when the NHS last accepted our registration
	expires   time.Time  // when the registration expires
	next      time.Time  // when the next request goes; zero: none is due
	timer     timers.Timer

	err      string // why we are not registered, or cannot use the registration
	unusable string // why no packet can be sent to the NHS that registered us; empty: one can

	announcement announcement
}

const (
	// RetryMost is the longest time between two unanswered requests to an NHS.
	RetryMost = time.Minute
	// TriesPerAddr is how many requests an NHS may leave unanswered before we report it, and try
	// the next address of its name.
	TriesPerAddr = 3

	retryFirst    = time.Second
	retryJitter   = 25 // percent
	refreshJitter = 5  // percent
)

// newNHS returns an NHS of the configuration, with no address and no registration yet.
func (cl *Client) newNHS(cfg overlay.NHSConfig) *NHS {
	n := &NHS{cl: cl, Config: cfg, Protocol: cfg.Protocol}
	n.ref.Owner = n
	n.timer.Run = func() { cl.registrationDue(n) }
	n.announcement.timer.Run = func() { cl.announcementDue(n) }
	return n
}

// state returns the state of the registration for people and programs.
func (n *NHS) state() report.NHSState {
	switch {
	case !n.NBMA.IsValid():
		return report.NHSUnresolved
	case !n.cl.Peers.Secured(n.NBMA) || n.denied:
		return report.NHSSecuring
	case n.refused:
		return report.NHSRefused
	case n.Registered:
		return report.NHSRegistered
	}
	return report.NHSRegistering
}

// Usable reports whether we may send requests of our own through the NHS: we are registered with
// it, and it is secured.
func (n *NHS) Usable() bool { return n.Registered && n.cl.Peers.Secured(n.NBMA) }

// NHSResolved handles the event that a configured name resolves to these addresses. While the name
// resolves to none, we keep using the address that we have.
func (cl *Client) NHSResolved(name string, addrs []netip.Addr) {
	for _, n := range cl.NHS {
		if n.Config.Name != name {
			continue
		}
		if len(addrs) == 0 && n.NBMA.IsValid() {
			continue
		}
		n.Addrs = slices.DeleteFunc(slices.Clone(addrs),
			func(a netip.Addr) bool { return !a.IsValid() })
		if !cl.Left {
			cl.useResolved(n)
		}
	}
}

// useResolved changes to the best address that the tunnel can send to. It keeps the address in use
// if the name still resolves to that one too.
func (cl *Client) useResolved(n *NHS) {
	usable := n.reachable()
	switch {
	case len(usable) == 0 && len(n.Addrs) > 0:
		cl.noneReachable(n)
	case len(usable) > 0 && !slices.Contains(usable, n.NBMA):
		if !n.NBMA.IsValid() {
			n.err = ""
		}
		cl.useAddress(n, usable[0])
	}
}

// reachable returns those addresses of the NHS's name that are of the same IP version as our own
// address. It returns all of them as long as we have never had an address.
func (n *NHS) reachable() []netip.Addr {
	var usable []netip.Addr
	for _, a := range n.Addrs {
		if n.cl.sendsTo(a) {
			usable = append(usable, a)
		}
	}
	return usable
}

// sendsTo reports whether the tunnel can send to an address: that address and our own are of the
// same IP version.
func (cl *Client) sendsTo(nbma netip.Addr) bool {
	return !cl.Known.IsValid() || nbma.Is4() == cl.Known.Is4()
}

// noneReachable reports why we cannot register: the name has no address that the tunnel can send
// to. As in NHSResolved, we keep using an address that the tunnel can send to.
func (cl *Client) noneReachable(n *NHS) {
	if n.NBMA.IsValid() && cl.sendsTo(n.NBMA) {
		return
	}
	reason := fmt.Sprintf(
		"its name has no address that the tunnel can send to from %s, only such as %s, of another IP version",
		cl.Known,
		n.Addrs[0],
	)
	known := n.err == reason
	cl.DropNHS(n)
	n.err = reason
	if !known {
		cl.Notice(output.Notice{Kind: output.NoticeUnanswered, NBMA: n.Addrs[0],
			Reason: "the NHS cannot be asked: " + reason})
	}
}

// useNextAddress changes to the next address of the NHS, if the name has several.
func (cl *Client) useNextAddress(n *NHS) {
	usable := n.reachable()
	if i := slices.Index(usable, n.NBMA); len(usable) > 1 {
		cl.useAddress(n, usable[(i+1)%len(usable)])
	}
}

// useAddress changes to another address of the NHS. It withdraws the neighbour at the old address
// at once: the NHS's peer reference moves to the new address, so the loss of the old SA would no
// longer withdraw that neighbour.
func (cl *Client) useAddress(n *NHS, nbma netip.Addr) {
	cl.Neighbors.Withdraw(&n.neighbor)
	if n.NBMA.IsValid() {
		cl.Parts.DropRelaysBy(n.NBMA)
	}
	n.NBMA, n.Registered, n.refused, n.Public = nbma, false, false, netip.Addr{}
	cl.Peers.Refer(&n.ref, cl.Peers.At(nbma), peers.ForNHS, true)
	cl.Admissions.Admit(&n.Admission, nbma, admission.As{NHS: true})
	cl.RegisterAnew(n)
}

// RegisterAnew registers with an NHS from the start: as if no request had gone to it before. The
// request goes out at once if the NHS has an address, we have one, and the SA that IPsec requires
// is up.
func (cl *Client) RegisterAnew(n *NHS) {
	n.attempts, n.quiet, n.awaiting = 0, 0, false
	cl.stopRegistering(n)
	cl.forgetAnnouncement(n)
	if o := cl.objectToNHS(n); o.Raised() {
		cl.denyNHS(n, o)
		return
	}
	if n.denied {
		n.denied = false
		cl.Admissions.Admit(&n.Admission, n.NBMA, admission.As{NHS: true})
	}
	if !cl.Left && n.NBMA.IsValid() && cl.Local.IsValid() && cl.Peers.Secured(n.NBMA) {
		cl.register(n)
	}
}

// objectToNHS returns why the router at the address of an NHS may not be that NHS.
func (cl *Client) objectToNHS(n *NHS) objection.Objection {
	if !n.Protocol.IsValid() {
		return cl.Peers.ObjectTo(n.NBMA)
	}
	return cl.Peers.ObjectToBeing(n.NBMA, n.Protocol)
}

// denyNHS stops using an NHS because the router at its address may not be that NHS. We do not
// register there again before the address has another SA or the rules change.
func (cl *Client) denyNHS(n *NHS, o objection.Objection) {
	reason := "who is at the NHS's address may not be it: " + o.Text
	if n.err != reason {
		n.err = reason
		cl.Notice(output.Notice{Kind: output.NoticeRefused, NextHop: n.Protocol, NBMA: n.NBMA,
			Reason: reason})
	}
	cl.Neighbors.Withdraw(&n.neighbor)
	cl.Parts.DropRelaysBy(n.NBMA)
	cl.Admissions.Dismiss(&n.Admission)
	cl.Admissions.EndAdmission(n.NBMA)
	n.denied, n.Registered, n.refused, n.awaiting = true, false, false, false
	cl.stopRegistering(n)
	cl.forgetAnnouncement(n)
}

// stopRegistering sends no further request until registerIn sets the time of one.
func (cl *Client) stopRegistering(n *NHS) {
	n.next = time.Time{}
	cl.Timers.Stop(&n.timer)
}

// register sends a new Registration Request, or repeats the one that waits for its reply. It also
// sets when the next request goes.
func (cl *Client) register(n *NHS) {
	if !n.awaiting {
		n.awaiting, n.requestID, n.asked = true, cl.NewRequestID(), cl.Now
	}
	n.sentNBMA = cl.Local
	cl.sendRegistration(n)
	cl.registerIn(n, cl.requestWait(n))
}

// retryWait returns how long to wait for a reply after so many attempts that had none. The wait
// grows, but stays short enough for several attempts within a holding time: a few lost packets must
// not cost us a registration.
func (cl *Client) retryWait(attempts int) time.Duration {
	most := max(retryFirst, min(RetryMost, cl.Config.HoldingTime/6))
	return cl.Jittered(min(retryFirst<<min(attempts, 6), most), retryJitter)
}

// registerIn sets that the next request goes after d.
func (cl *Client) registerIn(n *NHS, d time.Duration) {
	n.next = cl.Now.Add(d)
	cl.Timers.Set(&n.timer, n.next)
}

// registrationDue sends a refresh, or repeats a request that was not answered.
func (cl *Client) registrationDue(n *NHS) {
	if n.awaiting {
		cl.unanswered(n)
	}
	if !cl.Peers.Secured(n.NBMA) || !cl.Local.IsValid() {
		cl.stopRegistering(n)
		return
	}
	if !n.awaiting || n.attempts > 0 {
		cl.register(n)
	}
}

// unanswered counts a request that the NHS did not answer in time. Depending on the counts it
// reports the silence, treats the NHS as lost, or tries the next address of the NHS.
func (cl *Client) unanswered(n *NHS) {
	n.attempts++
	n.silent++
	n.quiet++
	if n.errorReported {
		n.asked, n.quiet = cl.Now, 0
	}
	lost := n.isLost(cl.Now)
	if lost {
		cl.loseNHS(n)
	}
	if n.quiet == TriesPerAddr {
		n.err, n.refused = SilentNHS, false // a refusal from before may not hold any more
		cl.Notice(output.Notice{
			Kind: output.NoticeUnanswered, NextHop: n.Protocol, NBMA: n.NBMA,
			Reason: "the NHS does not answer our registrations; trying on"})
	}
	n.errorReported = false
	if lost || n.attempts%TriesPerAddr == 0 && !n.Registered {
		cl.useNextAddress(n)
	}
}

// PeerSecured registers as soon as the NHS has an SA: the NHS may have forgotten us meanwhile.
func (n *NHS) PeerSecured() {
	n.err = "" // it said why there was no SA
	n.cl.RegisterAnew(n)
}

// PeerLost stops registering until the NHS has an SA again. The neighbour of the NHS stays for now.
func (n *NHS) PeerLost(reason string) {
	n.awaiting, n.attempts, n.silent, n.quiet, n.Registered = false, 0, 0, 0, false
	n.cl.Parts.MoveRelaysFrom(n.NBMA)
	n.err = reason
	n.cl.stopRegistering(n)
	n.cl.forgetAnnouncement(n)
}

// PeerLostForGood withdraws the neighbour of an NHS whose SA has not come back. The engine goes on
// securing the NHS, and registers when it has an SA.
func (n *NHS) PeerLostForGood() { n.cl.Neighbors.Withdraw(&n.neighbor) }

// PeerFailed tries the next address of an NHS that could not be secured.
func (n *NHS) PeerFailed() {
	n.err = n.ref.Peer.Err
	n.cl.useNextAddress(n)
}

// PeerRenewed registers again: the NHS may have lost our registration together with the old SA.
func (n *NHS) PeerRenewed() { n.cl.RegisterAnew(n) }

// PeerBarred tries the next address of an NHS whose router may do nothing here.
func (n *NHS) PeerBarred(_ string) { n.PeerFailed() }

// RulesChanged stops using the NHS if the rules no longer let the router at its address be that
// NHS.
func (n *NHS) RulesChanged(_ *peers.Peer) {
	if o := n.cl.objectToNHS(n); o.Raised() {
		n.cl.denyNHS(n, o)
	}
}

// Router returns the overlay address of the NHS.
func (n *NHS) Router() netip.Addr { return n.Protocol }

// DropNHS ends everything that we have with an NHS. It first takes back our registration, if the
// NHS has one.
func (cl *Client) DropNHS(n *NHS) {
	if n.NBMA.IsValid() {
		cl.Parts.DropRelaysBy(n.NBMA)
	}
	if n.Usable() && cl.Local.IsValid() {
		cl.purgeRegistration(n)
	}
	n.Registered, n.refused, n.denied, n.awaiting, n.attempts, n.Public =
		false, false, false, false, 0, netip.Addr{}
	n.NBMA, n.Protocol, n.silent, n.err = netip.Addr{}, n.Config.Protocol, 0, ""
	cl.stopRegistering(n)
	cl.forgetAnnouncement(n)
	cl.Neighbors.Withdraw(&n.neighbor)
	cl.Admissions.Dismiss(&n.Admission)
	cl.Peers.Release(&n.ref)
}

// IsNHSElsewhere reports whether an overlay address is that of one of this router's NHSs, and the
// NHS is not at that NBMA address.
func (cl *Client) IsNHSElsewhere(protocol, nbma netip.Addr) bool {
	return slices.ContainsFunc(cl.NHS, func(n *NHS) bool {
		return n.Protocol == protocol && n.NBMA != nbma
	})
}

// SilentNHS is the error in the status of an NHS that does not answer and does not say why.
const SilentNHS = "does not answer registrations"

// Status returns a copy of the state of the registration.
func (n *NHS) Status() report.NHSStatus {
	st := report.NHSStatus{
		Name:     n.Config.Name,
		Protocol: n.Protocol,
		NBMA:     n.NBMA,
		State:    n.state(),
		Next:     n.next,
		Attempts: n.attempts,
		Error:    n.err,
	}
	if st.Error == "" {
		st.Error = n.announcement.err
	}
	if n.awaiting {
		st.Asked = n.asked
	}
	if n.Registered {
		st.Announced = slices.Clone(n.announcement.held)
		st.Registered, st.Expires = n.since, n.expires
	}
	return st
}

// Saved returns what a restart has to know of an NHS.
func (n *NHS) Saved() report.SavedNHS {
	return report.SavedNHS{Name: n.Config.Name, Protocol: n.Protocol, NBMA: n.NBMA}
}

// SetNHSs gives the interface the next hop servers of its configuration, in that order. An NHS
// whose configuration is unchanged keeps its registration.
func (cl *Client) SetNHSs() {
	old := cl.NHS
	cl.NHS = nil
	for _, c := range cl.Config.NHS {
		i := slices.IndexFunc(old, func(n *NHS) bool { return n.Config == c })
		if i >= 0 {
			cl.NHS = append(cl.NHS, old[i])
			old = slices.Delete(old, i, i+1)
			continue
		}
		n := cl.newNHS(c)
		if i := slices.IndexFunc(old, func(n *NHS) bool {
			return n.Config.Name == c.Name
		}); i >= 0 {
			n.Addrs = old[i].Addrs // NHSResolved does not come again for this name
		}
		cl.NHS = append(cl.NHS, n)
	}
	for _, n := range old {
		cl.DropNHS(n)
	}
	for _, n := range cl.NHS {
		cl.useResolved(n)
	}
}

// IsNHSProtocol reports whether an overlay address is that of one of our NHSs. Such an address is
// never resolved: this router finds NHSs by registering with them.
func (cl *Client) IsNHSProtocol(protocol netip.Addr) bool {
	for _, n := range cl.NHS {
		if n.Protocol == protocol {
			return true
		}
	}
	return false
}
