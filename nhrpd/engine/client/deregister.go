package client

import (
	"net/netip"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/purge"
)

// Deregister returns the purges that take our registrations back from every NHS that has them. From
// then on we count as registered with none. The caller sends the purges.
func (cl *Client) Deregister() []*purge.Request {
	var purges []*purge.Request
	for _, n := range cl.NHS {
		if n.Usable() {
			purges = append(purges, n.registrationPurges()...)
		}
		n.Registered = false // so that DropNHS sends no purges of its own
	}
	return purges
}

// registrationPurges returns the purges that take this router's registrations back from an NHS (RFC
// 2332 §5.2.5). They have the request IDs of the registrations, since some NHSs take no others.
func (n *NHS) registrationPurges() []*purge.Request {
	to := n.Protocol
	if !to.IsValid() {
		to = n.cl.Address()
	}
	var purges []*purge.Request
	if held := n.announcement.held; len(held) > 0 {
		purges = append(purges, &purge.Request{
			ID:       n.announcement.requestID,
			Dest:     to,
			NBMA:     n.NBMA,
			Via:      n.NBMA,
			Prefixes: held,
		})
	}
	return append(purges, &purge.Request{
		ID:       n.requestID,
		Dest:     to,
		NBMA:     n.NBMA,
		Via:      n.NBMA,
		Prefixes: []netip.Prefix{overlay.HostPrefix(n.cl.Address())},
	})
}

// purgeRegistration takes this router's registrations back from an NHS. It sends each purge once
// and asks for no reply.
func (cl *Client) purgeRegistration(n *NHS) {
	for _, p := range n.registrationPurges() {
		cl.Purges.SendUnconfirmed(p)
	}
}
