package client

import (
	"net/netip"

	"cygnet/nhrpd/engine/purge"
)

// Deregister returns the purges that take our registrations back from every NHS that has them. From
// then on we count as registered with none. The caller sends the purges.
func (cl *Client) Deregister() []*purge.Request {
	var purges []*purge.Request
	for r := range cl.registrations() {
		if r.Usable() {
			purges = append(purges, r.registrationPurges()...)
		}
		r.Registered = false // so that DropNHS sends no purges of its own
	}
	return purges
}

// registrationPurges returns the purges that take this router's registrations of one family back
// from an NHS (RFC 2332 §5.2.5). They have the request IDs of the registrations, since some NHSs
// take no others.
func (r *Registration) registrationPurges() []*purge.Request {
	to := r.Protocol
	if !to.IsValid() {
		to = r.own
	}
	var purges []*purge.Request
	if held := r.announcement.held; len(held) > 0 {
		purges = append(purges, &purge.Request{
			ID:       r.announcement.requestID,
			Dest:     to,
			Peer:     r.ID(),
			Via:      r.ID(),
			Prefixes: held,
		})
	}
	return append(purges, &purge.Request{
		ID:       r.requestID,
		Dest:     to,
		Peer:     r.ID(),
		Via:      r.ID(),
		Prefixes: []netip.Prefix{r.ownPrefix()},
	})
}

// purgeRegistration takes this router's registrations of one family back from an NHS. It sends each
// purge once and asks for no reply.
func (cl *Client) purgeRegistration(r *Registration) {
	for _, p := range r.registrationPurges() {
		cl.Purges.SendUnconfirmed(p)
	}
}
