package api

import "net/netip"

// Pair is what this router remembers of the path from another router to a destination behind a
// third one: whether it told the router of a shorter way, or passed the router's question on. It
// remembers the last 1024 of an interface.
type Pair struct {
	Interface string `json:"interface"`
	// an overlay address that the router registered here; absent: none
	Source      netip.Addr `json:"source,omitzero"`
	NBMA        netip.Addr `json:"nbma,omitzero"`  // of that router
	Mark        uint32     `json:"mark,omitempty"` // see Peer
	Identity    string     `json:"identity,omitempty"`
	Destination netip.Addr `json:"destination"`
	// the router that packets to the destination go to from here; absent: nowhere
	NextHop  netip.Addr        `json:"next_hop,omitzero"`
	Question ExplainedQuestion `json:"question"`
}
