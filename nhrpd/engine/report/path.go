package report

import (
	"net/netip"
	"time"
)

// PathState is what is known of the direct path to a peer.
type PathState uint8

// The states of a path.
const (
	PathUnproven PathState = iota // the peer answers no probes, or no series has ended yet
	PathProven                    // packets of full size pass both ways
	PathSmall                     // packets of full size are lost, smaller ones pass
	PathFailed                    // it carried no probe; traffic goes through a hub
)

// PathStatus is a copy of the state of the direct path to a peer.
type PathStatus struct {
	State    PathState
	NextHop  netip.Addr // the peer's overlay address
	Since    time.Time  // when the state began
	MTU      uint16     // the longest packet that passed, in the state PathSmall; else 0
	Failures int        // in a row
	Retry    time.Time  // when a failed path may be tried again; zero in other states
	Reason   string     // why it failed

	// RoundTrip is that of the last probe that was answered and not repeated. It is 0 if there was
	// none.
	RoundTrip time.Duration
}
