package resolution

import (
	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/prefixes"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/server"
)

// Needs are the parts of the interface that resolution stands on.
type Needs struct {
	*overlay.Interface

	Peers      *peers.Table
	Neighbors  *neighbors.Table
	Admissions *admission.Table
	Purges     *purge.Table
	Prefixes   *prefixes.Rules
	Server     *server.Server
	Client     *client.Client
}

// Resolution is all that Resolution Requests of an interface are about: asking, answering and
// passing on.
type Resolution struct {
	Requester Requester
	Relays    Relays
	Responder Responder
	Transit   Transit
	authority authority
}

// New returns a resolution without shortcuts, relays and answers.
func New(n Needs) *Resolution {
	r := &Resolution{
		Requester: newRequester(n),
		Relays:    newRelays(n),
		Responder: newResponder(n),
		Transit:   Transit{Needs: n},
		authority: authority{n},
	}
	r.Requester.Relays, r.Relays.Requester = &r.Relays, &r.Requester
	r.Responder.authority, r.Responder.Requester = &r.authority, &r.Requester
	r.Responder.Transit = &r.Transit
	r.Transit.authority, r.Transit.Responder = &r.authority, &r.Responder
	return r
}
