package peerstate

// Failure is how the last attempt to dial a peer failed, as far as it matters for the next one and
// for the subscription to charon's log.
//
//	event     from                   to           the reconciler
//	Silent    Unexplained, Refused   Silence      reports that the peer does not answer
//	Unheard   Silence, Refused       Unexplained  subscribes to charon's log, dials at once
//	Explained Silence, Unexplained   Refused      reports the reason
//	Repeated  Unexplained            Refused      loads the PSK, then has charon initiate
//	Forget    Unexplained, Refused   Silence      nothing
type Failure uint8

// The kinds of failures.
const (
	Silence     Failure = iota // none, or the peer did not answer
	Unexplained                // the reason is not known: the next attempt is to show it
	Refused                    // for another reason than silence
)

// FailureEvent is what changes a Failure.
type FailureEvent uint8

// The events of a failure.
const (
	Silent    FailureEvent = iota // the peer did not answer
	Unheard                       // an attempt failed, and nobody heard why
	Explained                     // an attempt failed for another reason than silence
	Repeated                      // the attempt that is to show the reason starts
	Forget                        // the peer is secured, not dialled any more, or the link is lost
)

// On changes the state by an event.
func (f *Failure) On(e FailureEvent) {
	if next, ok := failures[e][*f]; ok {
		*f = next
	}
}

var failures = map[FailureEvent]map[Failure]Failure{
	Silent:    {Unexplained: Silence, Refused: Silence},
	Unheard:   {Silence: Unexplained, Refused: Unexplained},
	Explained: {Silence: Refused, Unexplained: Refused},
	Repeated:  {Unexplained: Refused},
	Forget:    {Unexplained: Silence, Refused: Silence},
}

// NeedsLog reports whether charon's log is to tell the reason of the next failure.
func (f Failure) NeedsLog() bool { return f != Silence }

// ToRepeat reports whether the next attempt repeats one that failed for an unknown reason.
func (f Failure) ToRepeat() bool { return f == Unexplained }

// String returns the state's name.
func (f Failure) String() string { return [...]string{"silence", "unexplained", "refused"}[f] }
