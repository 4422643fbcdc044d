package resolution

import (
	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/prefixes"
	"cygnet/nhrpd/engine/proof"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/server"
)

// Needs are the other parts of the interface that the parts of this package use. Peers hides
// Interface.Peers, which shows less of the same table.
type Needs struct {
	*overlay.Interface

	Peers      *peers.Table
	Neighbors  *neighbors.Table
	Admissions *admission.Table
	Purges     *purge.Table
	Prefixes   *prefixes.Rules
	Proofs     *proof.Table
	Server     *server.Server
	Client     *client.Client
}

// Resolution is all that Resolution Requests of an interface are about: asking, answering and
// passing on. It must not be copied, since its parts refer to each other.
type Resolution struct {
	Requester Requester
	Relays    Relays
	Responder Responder
	Transit   Transit

	authority authority
}

// New returns a resolution without shortcuts, relays and answers.
//
// Each part gets the same needs, and pointers to the other parts that it calls. Some parts call
// each other, so a pointer may lead to a part that New makes later. No part follows a pointer
// before New returns.
func New(n Needs) *Resolution {
	r := &Resolution{}
	r.authority = authority{n}
	r.Requester = newRequester(n, &r.Relays)
	r.Relays = newRelays(n, &r.Requester)
	r.Responder = newResponder(n, &r.authority, &r.Requester, &r.Transit)
	r.Transit = newTransit(n, &r.authority, &r.Responder)
	return r
}
