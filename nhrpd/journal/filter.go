package journal

import (
	"net/netip"
	"strings"

	"cygnet/nhrpd/api"
)

// Filter selects the events that concern a peer. The peer is named by an underlay or overlay
// address, a prefix that contains one, or a part of an identity.
//
// Some events have the peer's identity, some only an address of it. A filter therefore learns from
// events that have both. An event without an identity then matches by its address, and one with an
// identity by that. A filter that has learned from all events once also matches those that came
// before the peer's identity was known.
type Filter struct {
	prefix netip.Prefix // for an address: the prefix of that address alone
	text   string       // in lower case; used if prefix is not valid

	identities map[string]bool // of the peer, in lower case, by address
	places     map[place]bool  // where the peer was seen
}

// place is an underlay address at an interface.
type place struct {
	iface string
	nbma  netip.Addr
}

// NewFilter returns a filter for a peer.
func NewFilter(peer string) *Filter {
	f := &Filter{identities: make(map[string]bool), places: make(map[place]bool)}
	if a, err := netip.ParseAddr(peer); err == nil {
		f.prefix = netip.PrefixFrom(a, a.BitLen())
	} else if p, err := netip.ParsePrefix(peer); err == nil {
		f.prefix = p.Masked()
	} else {
		f.text = strings.ToLower(peer)
	}
	return f
}

// Match reports whether an event concerns the peer, and learns from the event.
func (f *Filter) Match(e *api.Event) bool {
	if !f.prefix.IsValid() {
		return f.matchIdentity(e)
	}
	return f.matchAddress(e)
}

// matchIdentity matches by a part of an identity.
func (f *Filter) matchIdentity(e *api.Event) bool {
	at := place{e.Interface, e.NBMA}
	switch {
	case e.Identity == "":
		return e.NBMA.IsValid() && f.places[at]
	case !strings.Contains(strings.ToLower(e.Identity), f.text):
		return false
	}
	if e.NBMA.IsValid() {
		f.places[at] = true
	}
	return true
}

// matchAddress matches by an address. What an event is about may be another router than the one
// that it came from; only events about the router itself teach its identity.
func (f *Filter) matchAddress(e *api.Event) bool {
	identity := strings.ToLower(e.Identity)
	about := e.Protocol.IsValid() && f.prefix.Contains(e.Protocol) ||
		e.Prefix.IsValid() && f.prefix.Overlaps(e.Prefix)
	itself := e.NBMA.IsValid() && f.prefix.Contains(e.NBMA) ||
		e.NextHop.IsValid() && f.prefix.Contains(e.NextHop) ||
		about && isClient[e.Event]
	if itself && identity != "" {
		f.identities[identity] = true
	}
	return itself || about || identity != "" && f.identities[identity]
}

// isClient has the kinds of events whose overlay address is that of the router itself.
var isClient = map[api.EventKind]bool{
	api.EventClientRegistered: true,
	api.EventClientMoved:      true,
	api.EventClientEnded:      true,
}
