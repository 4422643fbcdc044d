package peerstate

// Step is what the reconciler does next about a peer.
type Step uint8

// The steps.
const (
	Nothing  Step = iota // wait: for a job, a timer, charon, or the client
	CloseSAs             // close the peer's SAs and unload its connection
	UnloadIt             // unload the peer's connection
	Dial                 // queue the peer, to be dialled when there is room
	Drop                 // drop the peer's entry: nothing is left to remember
)

// Facts are what decides about the next step besides the states.
type Facts struct {
	Wanted  bool // the client wants the peer: to dial or to be dialled
	Dialled bool // this end is to dial it, and can
	Profile bool // its interface has a profile
	Ready   bool // charon has that profile
	Secured bool // it was reported to have an SA
	HasSA   bool // the table has an SA with it
}

// Next returns the next step for a peer, in this order:
//
//	if                                                     then
//	a job about its connection runs                        Nothing
//	its SAs are to be closed                               CloseSAs
//	charon may have its connection, not wanted or
//	no profile                                             UnloadIt
//	no profile, wanted                                     Nothing: the profile may come later
//	no profile                                             Drop
//	to be dialled, not secured, profile ready, may queue   Dial
//	not wanted, not secured, no SA                         Drop
//	otherwise                                              Nothing
//
// A peer that is queued already is queued again without effect.
func Next(c Connection, d Dialling, f Facts) Step {
	switch {
	case c.Busy():
		return Nothing
	case c.ToClose():
		return CloseSAs
	case c.MayBeLoaded() && (!f.Wanted || !f.Profile):
		return UnloadIt
	case !f.Profile && f.Wanted:
		return Nothing
	case !f.Profile:
		return Drop
	case f.Dialled && !f.Secured && f.Ready && (d.MayQueue() || d == Queued):
		return Dial
	case !f.Wanted && !f.Secured && !f.HasSA:
		return Drop
	}
	return Nothing
}
