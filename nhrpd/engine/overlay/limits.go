package overlay

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/ratelimit"
)

// Limiters are the rate limiters of one interface. doc/threat-model.md says under "Rates" what each
// allows, and what happens to the rest.
type Limiters struct {
	Requests    *ratelimit.Limiter[peerid.ID]  // requests and indications taken from a peer
	Replies     *ratelimit.Limiter[peerid.ID]  // replies and errors taken from a peer
	Transit     *ratelimit.Limiter[TransitKey] // packets from NHSs, and from clients for others
	Refusals    *ratelimit.Limiter[peerid.ID]  // log events about what was refused to a peer
	Indications *ratelimit.Budget[Holder]      // traffic indications sent, by who gets them
	Flows       *ratelimit.Recent[Flow]        // the flows that those were about
	Misses      *ratelimit.Limiter[struct{}]   // neighbours that the kernel missed

	errors  *ratelimit.Budget[Holder]  // Error Indications sent, by who caused them
	notices *ratelimit.Limiter[Holder] // log events about a peer
}

// SpareKeys is how many more keys a limiter has room for than clients may register.
const SpareKeys = 256

// sameFlowTime is how long we send no further traffic indication about the same flow.
const sameFlowTime = time.Second

// newLimiters returns the limiters for a configuration, with full buckets.
func newLimiters(cfg *InterfaceConfig) Limiters {
	l := cfg.Limits
	keys := l.Bindings + SpareKeys
	requests := ratelimit.New[peerid.ID](l.Requests, 2*l.Requests, keys)
	return Limiters{
		Requests:    requests.Expecting(cfg.ExpectedClients()),
		Replies:     ratelimit.New[peerid.ID](l.Requests, 2*l.Requests, keys),
		Transit:     ratelimit.New[TransitKey](l.Transit, 2*l.Transit, 2*l.Bindings+SpareKeys),
		Refusals:    ratelimit.New[peerid.ID](1, 3, keys),
		Indications: ratelimit.NewBudget[Holder](l.Indications, keys),
		Flows:       ratelimit.NewRecent[Flow](sameFlowTime),
		Misses:      ratelimit.New[struct{}](MissLimit, 2*MissLimit, 0),
		errors:      ratelimit.NewBudget[Holder](l.Errors, keys),
		notices:     ratelimit.New[Holder](eventRate, EventBurst, keys),
	}
}

// Release lets others have the buckets of a peer that the engine forgets. An identity that still
// has an SA from another address keeps its bucket as long as it uses that bucket.
func (l *Limiters) Release(id peerid.ID, identity string) {
	for _, byPeer := range []*ratelimit.Limiter[peerid.ID]{l.Requests, l.Replies, l.Refusals} {
		byPeer.Release(id)
	}
	l.Transit.Release(TransitKey{From: id})
	l.Transit.Release(TransitKey{From: id, Reply: true})
	for _, k := range []Holder{{Peer: id}, HolderOf(identity, id)} {
		l.Indications.Release(k)
		l.errors.Release(k)
		l.notices.Release(k)
	}
}

// TransitKey is the key of Limiters.Transit. Replies have buckets of their own.
type TransitKey struct {
	From  peerid.ID // the router that the packet came from
	Reply bool      // the packet is a reply or an error
}

// Flow identifies what a traffic indication is about: packets from a source to a destination, sent
// into the tunnel by one router.
type Flow struct {
	To           peerid.ID  // the router that sends the packets
	Source, Dest netip.Addr // of the packets
}

// MissLimit is how many missed neighbours the engine asks for in a second. It is needed because a
// host behind this router may try all addresses of the overlay.
const MissLimit = 20
