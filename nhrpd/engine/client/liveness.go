package client

import (
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peerid"
)

// With IPsec, dead peer detection finds within half a minute that an NHS is gone. Without IPsec,
// only the registrations can show it. So without IPsec we refresh them more often, and an NHS that
// stays silent is lost within a minute of its last reply:
//
//	registered ──20 s── refresh ──30 s without a reply, repeated at most 4 s apart── lost
//
// Data that gets nothing back brings the refresh forward: see silenceWatch.
//
// A lost NHS is treated as it is with IPsec: we count as not registered with it, and its neighbour
// is withdrawn, so that traffic which has another way takes it. We go on registering, at growing
// intervals.
const (
	livenessInterval = 20 * time.Second // the longest time between refreshes
	livenessRetry    = 4 * time.Second  // the longest time between repetitions of a refresh
	lostAfter        = 30 * time.Second // an NHS is lost after so long without a reply
)

// refreshWait returns how long after a reply we refresh a registration: a third of its holding
// time, but without IPsec at most livenessInterval.
func (cl *Client) refreshWait(holding time.Duration) time.Duration {
	if cl.Config.Protected {
		return holding / 3
	}
	return min(holding/3, livenessInterval)
}

// requestWait returns how long to wait for the answer to a registration.
func (cl *Client) requestWait(r *Registration) time.Duration {
	wait := cl.retryWait(r.attempts)
	if !cl.Config.Protected && r.Registered {
		return min(wait, cl.Jittered(livenessRetry, retryJitter))
	}
	return wait
}

// Check registers at once with an NHS that left a question of ours unanswered: it may be dead, or
// may have forgotten us, and its next registration may be far away. It does nothing if the NHS has
// answered a registration a moment ago, or if a registration is under way.
func (cl *Client) Check(id peerid.ID) {
	for r := range cl.registrations() {
		if r.ID() == id && r.Usable() && !r.awaiting && cl.LocalFor(r.NBMA).IsValid() &&
			cl.Now.Sub(r.since) >= livenessRetry {
			r.register()
		}
	}
}

// isLost reports whether an NHS that has not answered counts as lost: the registration has expired,
// or without IPsec the NHS has been silent for lostAfter. Without IPsec, that also holds for an
// NHS with which we are not registered, but whose neighbour is still wanted, such as one restored
// after a restart.
func (r *Registration) isLost(now time.Time) bool {
	switch {
	case r.Registered && !now.Before(r.expires):
		return true
	case r.cl.Config.Protected || !r.Registered && !r.neighbor.Protocol.IsValid():
		return false
	}
	return now.Sub(r.asked) >= lostAfter
}

// loseNHS ends what depends on an NHS that is lost. With IPsec, the neighbour of the NHS stays as
// long as the SA does.
func (cl *Client) loseNHS(r *Registration) {
	registered := r.Registered
	if cl.Config.Protected {
		r.noteLoss("our registration with it has expired, and it does not answer")
	} else {
		r.noteLoss(givenUp)
	}
	r.Registered = false
	cl.Parts.MoveRelaysFrom(r.ID())
	if cl.Config.Protected {
		return
	}
	cl.Neighbors.Withdraw(&r.neighbor)
	r.forgetAnnouncement()
	if !registered {
		cl.Notice(output.Notice{Kind: output.NoticeUnanswered, NextHop: r.Protocol, Peer: r.ID(),
			Reason: givenUp})
	}
}

// givenUp is what becomes of an NHS that is lost on an interface without IPsec.
const givenUp = "it is given up until it answers again: its neighbour goes, and with it what is sent through it"

// noteLoss reports that an NHS is lost that has registered us. It reports nothing if the NHS has
// not registered us.
func (r *Registration) noteLoss(reason string) {
	if !r.Registered {
		return
	}
	r.wasLost = true
	r.cl.Notice(output.Notice{Kind: output.NoticeHubLost, Prefix: r.ownPrefix(),
		NextHop: r.Protocol, Peer: r.ID(), Reason: reason})
}

// announcedRecently reports whether an NHS has accepted all our prefixes and they need no refresh
// yet. Without IPsec the address is refreshed more often than the prefixes have to be.
func (r *Registration) announcedRecently(now time.Time) bool {
	a := &r.announcement
	return now.Before(a.refresh) && len(a.held) == len(r.announced())
}
