package api

import "net/netip"

// ResolveRequest asks the daemon to ask for a direct path to an address now.
type ResolveRequest struct {
	Destination netip.Addr `json:"destination"`
}

// PingRequest asks the daemon for NHRP round trips to a router.
type PingRequest struct {
	Address netip.Addr `json:"address"` // overlay or NBMA address of the router
	// find the longest packet that passes, with up to 84 further probes, if one of the MTU does not
	Search bool `json:"search,omitempty"`
}

// PingResult is what came of NHRP round trips to a router.
type PingResult struct {
	Interface string     `json:"interface"`
	Protocol  netip.Addr `json:"protocol"`
	NBMA      netip.Addr `json:"nbma"`
	Identity  string     `json:"identity,omitempty"`
	Protected bool       `json:"protected"` // the packets went through IPsec
	MTU       int        `json:"mtu"`       // of the tunnel
	Trips     []PingTrip `json:"trips"`
}

// PingTrip is one packet to a router, and its answer.
type PingTrip struct {
	// a plain Resolution Request, which any NHRP router answers; otherwise a probe
	Plain bool `json:"plain"`
	Size  int  `json:"size"` // of the NHRP packet in bytes; 0: it could not be sent
	// seconds until the answer; absent: none came in time
	Seconds float64 `json:"seconds,omitempty"`
}

// Answered reports whether the answer came.
func (t *PingTrip) Answered() bool { return t.Seconds > 0 }

// Longest returns the size of the longest probe that was answered, and the size of the shortest
// longer one that was not; 0 if there is none.
func (r *PingResult) Longest() (passed, lost int) {
	for _, t := range r.Trips {
		if t.Answered() && !t.Plain {
			passed = max(passed, t.Size)
		}
	}
	for _, t := range r.Trips {
		if !t.Answered() && !t.Plain && t.Size > passed && (lost == 0 || t.Size < lost) {
			lost = t.Size
		}
	}
	return passed, lost
}

// ClearRequest asks the daemon to end something.
type ClearRequest struct {
	What    Clearable  `json:"what"`
	Address netip.Addr `json:"address"`
}

// Clearable is a kind of state that the daemon ends on request.
type Clearable string

// The kinds of state.
const (
	ClearShortcut Clearable = "shortcut"
	ClearPeer     Clearable = "peer"
	ClearBinding  Clearable = "binding"
)

// Cleared is what the daemon ended.
type Cleared struct {
	What      Clearable    `json:"what"`
	Interface string       `json:"interface"`
	Prefix    netip.Prefix `json:"prefix,omitzero"` // of a shortcut
	Protocol  netip.Addr   `json:"protocol,omitzero"`
	NBMA      netip.Addr   `json:"nbma,omitzero"`
	Identity  string       `json:"identity,omitempty"`
	// there was no shortcut, only the wait before the destination is asked for again
	CoolDown bool `json:"cool_down,omitempty"`
}

// RegisterRequest asks the daemon to register at once with its next hop servers.
type RegisterRequest struct {
	Interface string `json:"interface"` // empty: all interfaces
}
