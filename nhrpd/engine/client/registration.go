package client

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
)

// Registration is our registration with an NHS of one family. An NHRP packet has overlay addresses
// of one IP version only (RFC 2332 §5.1), so each family has requests of its own, and the NHS may
// accept one and refuse the other. What concerns the router, such as its SA, is in the NHS.
type Registration struct {
	*NHS

	// own is the overlay address that we register.
	own netip.Addr
	// Protocol is the overlay address of the NHS in this family, configured or learned. It is the
	// zero address while it is not known.
	Protocol netip.Addr
	// Registered reports whether the NHS has accepted our registration, and we may rely on that.
	Registered bool

	neighbor neighbors.Claim
	grace    timers.Timer // withdraws neighbor after the registration has ended

	refused       bool // the NHS has refused our registration
	denied        bool // the rules do not let the router at the address be this NHS
	awaiting      bool // a request waits for its reply
	translated    bool // the last reply said that NAT changes our NBMA address
	takenBack     bool // the NHS took back our registration, and has answered none since
	errorReported bool // an Error Indication has said what is wrong with the request
	wasLost       bool // a NoticeHubLost was given, and we have not registered again since

	requestID uint32     // of the last request
	sentNBMA  netip.Addr // source address of the last request
	asked     time.Time  // when the request that waits went out first, or an error answered it
	repeated  bool       // the last request was sent more than once
	roundTrip time.Duration
	attempts  int       // unanswered or refused requests in a row
	silent    int       // unanswered requests in a row, also before registerAnew
	quiet     int       // unanswered requests in a row since the last Error Indication
	since     time.Time // when the NHS last accepted our registration
	expires   time.Time // when the registration expires
	next      time.Time // when the next request goes; zero: none is due
	timer     timers.Timer

	err      string // why we are not registered, or cannot use the registration
	unusable string // why no packet can be sent to the NHS that registered us; empty: one can

	announcement announcement
}

const (
	// RetryMost is the longest time between two unanswered requests to an NHS.
	RetryMost = time.Minute
	// TriesPerAddr is how many requests an NHS may leave unanswered before we report it, and try
	// the next NHS.
	TriesPerAddr = 3

	retryFirst    = time.Second
	retryJitter   = 25 // percent
	refreshJitter = 5  // percent
)

// newRegistration returns a registration of our overlay address own that has not begun.
func (n *NHS) newRegistration(own netip.Addr) *Registration {
	r := &Registration{NHS: n, own: own}
	r.Protocol = r.configured()
	r.timer.Run = func() { r.registrationDue() }
	r.announcement.timer.Run = func() { r.announcementDue() }
	return r
}

// configured returns the overlay address of the NHS in this family, as the configuration has it. It
// returns the zero address if the configuration has none.
func (r *Registration) configured() netip.Addr { return r.Config.ProtocolFor(r.own) }

// ownPrefix returns the host prefix of the overlay address that we register.
func (r *Registration) ownPrefix() netip.Prefix { return overlay.HostPrefix(r.own) }

// siblings reports whether f holds for another registration with the same NHS.
func (r *Registration) siblings(f func(*Registration) bool) bool {
	return r.any(func(other *Registration) bool { return other != r && f(other) })
}

// state returns the state of the registration for people and programs.
func (r *Registration) state() report.NHSState {
	switch {
	case !r.NBMA.IsValid():
		return report.NHSUnresolved
	case r.inReserve():
		return report.NHSReserve
	case !r.cl.Peers.Secured(r.ID()) || r.denied:
		return report.NHSSecuring
	case r.standsBy():
		return report.NHSReserve
	case r.refused:
		return report.NHSRefused
	case r.Registered:
		return report.NHSRegistered
	}
	return report.NHSRegistering
}

// Usable reports whether we may send requests of our own with this family through the NHS: we are
// registered with it, and it is secured.
func (r *Registration) Usable() bool { return r.Registered && r.cl.Peers.Secured(r.ID()) }

// registerAnew registers one family with an NHS from the start, as RegisterAnew does.
func (r *Registration) registerAnew() {
	cl := r.cl
	if !r.Wanted() || r.standsBy() {
		return
	}
	r.attempts, r.quiet, r.awaiting = 0, 0, false
	r.stopRegistering()
	r.forgetAnnouncement()
	if o := cl.objectToNHS(r); o.Raised() {
		r.denyNHS(o)
		return
	}
	if r.denied {
		r.denied = false
		cl.Admissions.Admit(&r.Admission, r.ID(), admission.As{NHS: true})
	}
	if !cl.Left && cl.LocalFor(r.NBMA).IsValid() && cl.Peers.Secured(r.ID()) {
		r.register()
	}
}

// denyNHS stops using an NHS in one family because the router at its address may not be that NHS.
// We do not register there again before the address has another SA or the rules change.
func (r *Registration) denyNHS(o objection.Objection) {
	cl := r.cl
	reason := "who is at the NHS's address may not be it: " + o.Text
	if r.err != reason {
		r.err = reason
		cl.Notice(output.Notice{Kind: output.NoticeRefused, NextHop: r.Protocol, Peer: r.ID(),
			Reason: reason})
	}
	cl.Neighbors.Withdraw(&r.neighbor)
	r.denied, r.Registered, r.refused, r.awaiting = true, false, false, false
	if r.siblings(func(other *Registration) bool { return !other.denied }) {
		cl.Parts.MoveRelaysFrom(r.ID())
	} else {
		cl.Parts.DropRelaysBy(r.ID())
		cl.Admissions.Dismiss(&r.Admission)
		cl.Admissions.EndAdmission(r.ID())
	}
	r.stopRegistering()
	r.forgetAnnouncement()
	r.fail()
}

// stopRegistering sends no further request until registerIn sets the time of one.
func (r *Registration) stopRegistering() {
	r.next = time.Time{}
	r.cl.Timers.Stop(&r.timer)
}

// register sends a new Registration Request, or repeats the one that waits for its reply. It also
// sets when the next request goes.
func (r *Registration) register() {
	cl := r.cl
	r.repeated = r.awaiting
	if !r.awaiting {
		r.awaiting, r.requestID, r.asked = true, cl.NewRequestID(), cl.Now
	}
	r.sentNBMA = cl.LocalFor(r.NBMA)
	cl.sendRegistration(r)
	r.registerIn(cl.requestWait(r))
}

// retryWait returns how long to wait for a reply after so many attempts that had none. The wait
// grows, but stays short enough for several attempts within a holding time: a few lost packets must
// not cost us a registration.
func (cl *Client) retryWait(attempts int) time.Duration {
	most := max(retryFirst, min(RetryMost, cl.Config.HoldingTime/6))
	return cl.Jittered(min(retryFirst<<min(attempts, 6), most), retryJitter)
}

// registerIn sets that the next request goes after d.
func (r *Registration) registerIn(d time.Duration) {
	r.next = r.cl.Now.Add(d)
	r.cl.Timers.Set(&r.timer, r.next)
}

// registrationDue sends a refresh, or repeats a request that was not answered.
func (r *Registration) registrationDue() {
	cl := r.cl
	if r.awaiting {
		r.unanswered()
	}
	if !cl.Peers.Secured(r.ID()) || !cl.LocalFor(r.NBMA).IsValid() {
		r.stopRegistering()
		return
	}
	if !r.awaiting || r.attempts > 0 {
		r.register()
	}
}

// unanswered counts a request that the NHS did not answer in time. Depending on the counts it
// reports the silence, treats the NHS as lost, or has the next NHS tried.
func (r *Registration) unanswered() {
	cl := r.cl
	r.attempts++
	r.silent++
	r.quiet++
	if r.errorReported {
		r.asked, r.quiet = cl.Now, 0
	}
	lost := r.isLost(cl.Now)
	if lost {
		cl.loseNHS(r)
	}
	if r.quiet == TriesPerAddr {
		r.err, r.refused = r.whySilent(), false // a refusal from before may not hold any more
		reason := "the NHS does not answer our registrations; trying on"
		if r.err != SilentNHS {
			reason = "the NHS " + r.err + "; trying on"
		}
		cl.Notice(output.Notice{Kind: output.NoticeUnanswered, NextHop: r.Protocol, Peer: r.ID(),
			Reason: reason})
	}
	r.errorReported = false
	if lost || r.attempts >= TriesPerAddr || r.siblings((*Registration).hopeless) {
		r.fail()
	} else if r.siblings((*Registration).settled) {
		r.review() // the other registration need not wait for this one any longer
	}
}

// hopeless reports whether the NHS has refused the registration, or the rules deny the NHS.
func (r *Registration) hopeless() bool { return r.refused || r.denied }

// waits reports whether the first request of a registration has neither an answer nor been
// repeated.
func (r *Registration) waits() bool {
	return r.awaiting && r.attempts == 0 && !r.refused && !r.Registered
}

// SilentNHS is the error in the status of an NHS that does not answer and does not say why.
const SilentNHS = "does not answer registrations"

// whySilent returns the error in the status of an NHS that does not answer: SilentNHS, unless the
// NHS has taken back our registration or answers the registration of the other family.
func (r *Registration) whySilent() string {
	if r.takenBack {
		return "took back our registration and does not answer another one: it may have left the overlay"
	}
	if !r.siblings((*Registration).Usable) {
		return SilentNHS
	}
	return "does not answer registrations of " + r.own.String() +
		", and does answer those of our other address: it may have no overlay address of this family"
}

// status returns a copy of the state of the registration.
func (r *Registration) status() report.RegistrationStatus {
	st := report.RegistrationStatus{
		Address:  r.own,
		Protocol: r.Protocol,
		State:    r.state(),
		Next:     r.next,
		Attempts: r.attempts,
		Error:    r.err,
	}
	if st.Error == "" {
		st.Error = r.announcement.err
	}
	if r.awaiting {
		st.Asked = r.asked
	}
	if r.Registered {
		st.Announced = slices.Clone(r.announcement.held)
		st.Registered, st.Expires = r.since, r.expires
	}
	st.RoundTrip = r.roundTrip
	return st
}
