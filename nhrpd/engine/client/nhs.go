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
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// NHS is our registration with one next hop server (RFC 2332 §5.2.3).
type NHS struct {
	peers.Unaffected

	cl     *Client
	Config overlay.NHSConfig
	Addrs  []netip.Addr // the addresses of cfg.Name, best first
	NBMA   netip.Addr   // the address in use; zero: none
	ref    peers.Ref

	Protocol   netip.Addr // its overlay address: configured or learned; zero: not known yet
	Neighbor   neighbors.Claim
	Admission  admission.Reason
	Public     netip.Addr // our NBMA address as the NHS sees it, where NAT changes it
	Registered bool
	Refused    bool
	Denied     bool // the rules do not let the router at its address be this NHS
	Awaiting   bool // a request waits for its reply
	Told       bool // an Error Indication has said what is wrong with the request
	RequestID  uint32
	sentNBMA   netip.Addr // source address of the request
	asked      time.Time  // when the request that waits went out first, or an error answered it
	Attempts   int        // unanswered or refused requests in a row
	silent     int        // unanswered requests in a row, to any of its NBMA addresses
	quiet      int        // unanswered requests in a row since the last reported error
	since      time.Time  // when the NHS last accepted our registration
	expires    time.Time  // when the registration expires
	next       time.Time  // when the next request goes
	Err        string
	// why no packet can be sent to it although it registered us; empty: one can
	unusable string
	timer    timers.Timer

	Announcement announcement
}

const (
	retryFirst    = time.Second
	RetryMost     = time.Minute
	retryJitter   = 25 // percent
	refreshJitter = 5  // percent
	TriesPerAddr  = 3  // after so many unanswered requests we try the next address
)

// newNHS returns an NHS of the configuration, with no address and no registration yet.
func (cl *Client) newNHS(cfg overlay.NHSConfig) *NHS {
	n := &NHS{cl: cl, Config: cfg, Protocol: cfg.Protocol}
	n.ref.Owner = n
	n.timer.Run = func() { cl.registrationDue(n) }
	n.Announcement.timer.Run = func() { cl.announceDue(n) }
	return n
}

// state returns how far the registration has come.
func (n *NHS) state() report.NHSState {
	switch {
	case !n.NBMA.IsValid():
		return report.NHSUnresolved
	case !n.cl.Peers.Secured(n.NBMA) || n.Denied:
		return report.NHSSecuring
	case n.Refused:
		return report.NHSRefused
	case n.Registered:
		return report.NHSRegistered
	}
	return report.NHSRegistering
}

// Usable reports whether we may send requests through the NHS.
func (n *NHS) Usable() bool { return n.Registered && n.cl.Peers.Secured(n.NBMA) }

// NHSResolved takes the addresses that a configured name resolves to. While the name resolves to
// none, we keep using the address that we have.
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
			cl.UseResolved(n)
		}
	}
}

// UseResolved changes to the best address that the tunnel can send to. It keeps the address in use
// if the name still resolves to that one too.
func (cl *Client) UseResolved(n *NHS) {
	usable := n.reachable()
	switch {
	case len(usable) == 0 && len(n.Addrs) > 0:
		cl.noneReachable(n)
	case len(usable) > 0 && !slices.Contains(usable, n.NBMA):
		if !n.NBMA.IsValid() {
			n.Err = ""
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
// to. As in nhsResolved, we keep using an address that the tunnel can send to.
func (cl *Client) noneReachable(n *NHS) {
	if n.NBMA.IsValid() && cl.sendsTo(n.NBMA) {
		return
	}
	reason := fmt.Sprintf(
		"its name has no address that the tunnel can send to from %s, only such as %s, of another IP version",
		cl.Known,
		n.Addrs[0],
	)
	known := n.Err == reason
	cl.DropNHS(n)
	n.Err = reason
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
	cl.Neighbors.Withdraw(&n.Neighbor)
	if n.NBMA.IsValid() {
		cl.Parts.DropRelaysBy(n.NBMA)
	}
	n.NBMA, n.Registered, n.Refused, n.Public = nbma, false, false, netip.Addr{}
	cl.Peers.Refer(&n.ref, cl.Peers.At(nbma), peers.ForNHS, true)
	cl.Admissions.Admit(&n.Admission, nbma, admission.As{NHS: true})
	cl.RegisterAnew(n)
}

// RegisterAnew registers with an NHS from the start. The request goes out at once if the NHS has an
// address, we have one, and the SA that IPsec requires is up.
func (cl *Client) RegisterAnew(n *NHS) {
	n.Attempts, n.quiet, n.Awaiting = 0, 0, false
	cl.stopRegistering(n)
	cl.forgetAnnouncement(n)
	if o := cl.ObjectToNHS(n); o.Raised() {
		cl.denyNHS(n, o)
		return
	}
	if n.Denied {
		n.Denied = false
		cl.Admissions.Admit(&n.Admission, n.NBMA, admission.As{NHS: true})
	}
	if !cl.Left && n.NBMA.IsValid() && cl.Local.IsValid() && cl.Peers.Secured(n.NBMA) {
		cl.register(n)
	}
}

// ObjectToNHS returns why the router at the address of an NHS may not be that NHS.
func (cl *Client) ObjectToNHS(n *NHS) objection.Objection {
	if !n.Protocol.IsValid() {
		return cl.Peers.ObjectTo(n.NBMA)
	}
	return cl.Peers.ObjectToBeing(n.NBMA, n.Protocol)
}

// denyNHS stops using an NHS because the router at its address may not be that NHS. We do not
// register there again before the address has another SA or the rules change.
func (cl *Client) denyNHS(n *NHS, o objection.Objection) {
	reason := "who is at the NHS's address may not be it: " + o.Text
	if n.Err != reason {
		n.Err = reason
		cl.Notice(output.Notice{Kind: output.NoticeRefused, NextHop: n.Protocol, NBMA: n.NBMA,
			Reason: reason})
	}
	cl.Neighbors.Withdraw(&n.Neighbor)
	cl.Parts.DropRelaysBy(n.NBMA)
	cl.Admissions.Dismiss(&n.Admission)
	cl.Admissions.EndAdmission(n.NBMA)
	n.Denied, n.Registered, n.Refused, n.Awaiting = true, false, false, false
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
	if !n.Awaiting {
		n.Awaiting, n.RequestID, n.asked = true, cl.NewRequestID(), cl.Now
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
	if n.Awaiting {
		cl.unanswered(n)
	}
	if !cl.Peers.Secured(n.NBMA) || !cl.Local.IsValid() {
		cl.stopRegistering(n)
		return
	}
	if !n.Awaiting || n.Attempts > 0 {
		cl.register(n)
	}
}

// unanswered counts a request that the NHS did not answer in time. Depending on the counts it
// reports the silence, treats the NHS as lost, or tries the next address of the NHS.
func (cl *Client) unanswered(n *NHS) {
	n.Attempts++
	n.silent++
	n.quiet++
	if n.Told {
		n.asked, n.quiet = cl.Now, 0
	}
	lost := n.isLost(cl.Now)
	if lost {
		cl.loseNHS(n)
	}
	if n.quiet == TriesPerAddr {
		n.Err, n.Refused = SilentNHS, false // a refusal from before may not hold any more
		cl.Notice(output.Notice{
			Kind: output.NoticeUnanswered, NextHop: n.Protocol, NBMA: n.NBMA,
			Reason: "the NHS does not answer our registrations; trying on"})
	}
	n.Told = false
	if lost || n.Attempts%TriesPerAddr == 0 && !n.Registered {
		cl.useNextAddress(n)
	}
}

// PeerSecured registers as soon as the NHS has an SA: the NHS may have forgotten us meanwhile.
func (n *NHS) PeerSecured() {
	n.Err = "" // it said why there was no SA
	n.cl.RegisterAnew(n)
}

// PeerLost stops registering until the NHS has an SA again. The neighbour of the NHS stays for now.
func (n *NHS) PeerLost(reason string) {
	n.Awaiting, n.Attempts, n.silent, n.quiet, n.Registered = false, 0, 0, 0, false
	n.cl.Parts.MoveRelaysFrom(n.NBMA)
	n.Err = reason
	n.cl.stopRegistering(n)
	n.cl.forgetAnnouncement(n)
}

// PeerLostForGood withdraws the neighbour of an NHS whose SA has not come back. The engine goes on
// securing the NHS, and registers when it has an SA.
func (n *NHS) PeerLostForGood() { n.cl.Neighbors.Withdraw(&n.Neighbor) }

// PeerFailed tries the next address of an NHS that could not be secured.
func (n *NHS) PeerFailed() {
	n.Err = n.ref.Peer.Err
	n.cl.useNextAddress(n)
}

// PeerRenewed registers again: the NHS may have lost our registration together with the old SA.
func (n *NHS) PeerRenewed() { n.cl.RegisterAnew(n) }

// PeerBarred tries the next address of an NHS whose router may do nothing here.
func (n *NHS) PeerBarred(_ string) { n.PeerFailed() }

// RulesChanged stops using the NHS if the rules no longer let the router at its address be that
// NHS.
func (n *NHS) RulesChanged(_ *peers.Peer) {
	if o := n.cl.ObjectToNHS(n); o.Raised() {
		n.cl.denyNHS(n, o)
	}
}

// Router returns the overlay address of the NHS.
func (n *NHS) Router() netip.Addr { return n.Protocol }

// DropNHS forgets an NHS. It first takes back our registration there, if the NHS has one.
func (cl *Client) DropNHS(n *NHS) {
	if n.NBMA.IsValid() {
		cl.Parts.DropRelaysBy(n.NBMA)
	}
	if n.Usable() && cl.Local.IsValid() {
		cl.purgeRegistration(n)
	}
	n.Registered, n.Refused, n.Denied, n.Awaiting, n.Attempts, n.Public =
		false, false, false, false, 0, netip.Addr{}
	n.NBMA, n.Protocol, n.silent, n.Err = netip.Addr{}, n.Config.Protocol, 0, ""
	cl.stopRegistering(n)
	cl.forgetAnnouncement(n)
	cl.Neighbors.Withdraw(&n.Neighbor)
	cl.Admissions.Dismiss(&n.Admission)
	cl.Peers.Release(&n.ref)
}

// PeerAddress reports whether an NBMA address can be another router's.
func (cl *Client) PeerAddress(nbma netip.Addr) bool {
	nbma = cl.Peers.Outer(nbma)
	return !overlay.InThisNetwork(nbma) && nbma.IsValid() && nbma.Is4() == cl.Local.Is4() &&
		nbma != cl.Local && nbma != cl.Public() &&
		!nbma.IsUnspecified() && !nbma.IsMulticast() && !nbma.IsLoopback()
}

// PublicCIE returns an entry with our NBMA address as the NHS sees it, if we are behind NAT.
// Otherwise it returns no entry.
func (cl *Client) PublicCIE() []packet.CIE {
	if public := cl.Public(); public.IsValid() {
		return []packet.CIE{overlay.NATCIE(cl.Address(), public)}
	}
	return nil
}

// RegistrationPurges returns the purges that take this router's registrations back from an NHS.
// They carry the request ids of the registrations, since some NHSs take them only with those.
func (n *NHS) RegistrationPurges() []*purge.Purge {
	to := n.Protocol
	if !to.IsValid() {
		to = n.cl.Address()
	}
	var purges []*purge.Purge
	if held := n.Announcement.held; len(held) > 0 {
		purges = append(purges, &purge.Purge{
			Purges:   n.cl.Purges,
			ID:       n.Announcement.RequestID,
			Dest:     to,
			NBMA:     n.NBMA,
			Via:      n.NBMA,
			Prefixes: held,
		})
	}
	return append(purges, &purge.Purge{
		Purges:   n.cl.Purges,
		ID:       n.RequestID,
		Dest:     to,
		NBMA:     n.NBMA,
		Via:      n.NBMA,
		Prefixes: []netip.Prefix{overlay.HostPrefix(n.cl.Address())},
	})
}

// purgeRegistration takes this router's registrations back from an NHS. It sends each purge once
// and asks for no reply.
func (cl *Client) purgeRegistration(n *NHS) {
	for _, p := range n.RegistrationPurges() {
		cl.Purges.SendPurgeRequest(p.Dest, n.NBMA, p.ID, packet.PurgeNoReply, p.Prefixes...)
	}
}

// Public returns our NBMA address as an NHS sees it, if NAT makes it another one than we send from,
// and else the zero address. It prefers an NHS that answers: one that does not may have seen us at
// an address that we had before.
func (cl *Client) Public() netip.Addr {
	var before netip.Addr
	for _, n := range cl.NHS {
		switch {
		case !n.Public.IsValid():
		case n.Usable() && n.Attempts == 0:
			return n.Public
		case !before.IsValid():
			before = n.Public
		}
	}
	return before
}

// BehindNAT reports whether NAT is in front of us, so that other routers cannot reach us before we
// have sent something to them.
func (cl *Client) BehindNAT() bool { return cl.Public().IsValid() }

// IsNHSElsewhere reports whether an overlay address is that of one of this router's NHSs, and the
// NHS is not at that NBMA address.
func (cl *Client) IsNHSElsewhere(protocol, nbma netip.Addr) bool {
	return slices.ContainsFunc(cl.NHS, func(n *NHS) bool {
		return n.Protocol == protocol && n.NBMA != nbma
	})
}

// SilentNHS is the error of an NHS that does not answer and does not say why.
const SilentNHS = "does not answer registrations"

// Status copies the state of the registration with an NHS.
func (n *NHS) Status() report.NHSStatus {
	st := report.NHSStatus{
		Name:     n.Config.Name,
		Protocol: n.Protocol,
		NBMA:     n.NBMA,
		State:    n.state(),
		Next:     n.next,
		Attempts: n.Attempts,
		Error:    n.Err,
	}
	if st.Error == "" {
		st.Error = n.Announcement.err
	}
	if n.Awaiting {
		st.Asked = n.asked
	}
	if n.Registered {
		st.Announced = slices.Clone(n.Announcement.held)
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
		cl.UseResolved(n)
	}
}

// IsNHSProtocol reports whether an overlay address is that of an NHS. This router finds NHSs by
// registering with them, and never asks for them.
func (cl *Client) IsNHSProtocol(protocol netip.Addr) bool {
	for _, n := range cl.NHS {
		if n.Protocol == protocol {
			return true
		}
	}
	return false
}
