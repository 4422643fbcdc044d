package api

import (
	"net/netip"
	"net/url"
	"time"
)

// MonitorQuery selects NHRP packets. What is empty selects all.
type MonitorQuery struct {
	Peer      string // an NBMA or overlay address, or a part of an identity
	Interface string
	Type      string // of message, such as resolution-request
}

// values returns the query as it is in a URL.
func (q MonitorQuery) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{
		"peer": q.Peer, "interface": q.Interface, "type": q.Type,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

// Monitored is a copy of an NHRP packet that came or went.
type Monitored struct {
	At        time.Time  `json:"at"`
	Interface string     `json:"interface"`
	Out       bool       `json:"out"`                // this router sent it
	Local     netip.Addr `json:"local,omitzero"`     // NBMA address of this router
	NBMA      netip.Addr `json:"nbma,omitzero"`      // of the other router, as this one sees it
	Mark      uint32     `json:"mark,omitempty"`     // see Peer
	Identity  string     `json:"identity,omitempty"` // of the other router, proven by IKE
	// the packet from the NHRP header on; in the place of a password there are as many x
	Data []byte `json:"data"`
	// what the daemon made of a packet that came: "accepted", "held …" or "dropped: …"; "sent" if
	// this router sent it
	Verdict string `json:"verdict"`
	// how many packets before this one were lost, because they came faster than they were taken
	Lost uint64 `json:"lost,omitempty"`
}
