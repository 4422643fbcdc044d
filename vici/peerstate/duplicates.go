package peerstate

// Duplicates is how far the reconciler is with a peer that has several SAs, of which one is to
// stay.
//
//	event      from         to           the reconciler
//	Several    Single       Waiting      waits whether the SAs become one by themselves
//	Several    HandedOver   HandingOver  the same
//	TimeOver   Waiting      Single       evaluates the SAs
//	TimeOver   HandingOver  HandedOver   evaluates the SAs
//	HandOver   Single       HandingOver  rekeys the SA that stays, waits for the peer
//	Evaluated  HandedOver   Single       closes the others
//	Reset      all others   Single       nothing: the link to charon has ended
//
// Evaluated does not come while the interface has no profile: a peer that was handed over can
// outlive the profile, and is HandedOver until there is a profile again.
type Duplicates uint8

// The states of duplicates.
const (
	Single      Duplicates = iota // nothing is under way
	Waiting                       // the SAs may become one by themselves
	HandingOver                   // both ends are to send through the SA that stays
	HandedOver                    // the others can be closed
)

// DuplicatesEvent is what changes a Duplicates.
type DuplicatesEvent uint8

// The events of duplicates.
const (
	Several   DuplicatesEvent = iota // the peer has several SAs
	TimeOver                         // the wait is over, or the peer has agreed
	HandOver                         // some are to be closed, and the one that stays is rekeyed
	Evaluated                        // the SAs were evaluated, and those to be closed are closed
	Reset                            // the link to charon has ended
)

// On changes the state by an event.
func (d *Duplicates) On(e DuplicatesEvent) {
	if next, ok := duplicates[e][*d]; ok {
		*d = next
	}
}

var duplicates = map[DuplicatesEvent]map[Duplicates]Duplicates{
	Several:   {Single: Waiting, HandedOver: HandingOver},
	TimeOver:  {Waiting: Single, HandingOver: HandedOver},
	HandOver:  {Single: HandingOver},
	Evaluated: {HandedOver: Single},
	Reset:     {Waiting: Single, HandingOver: Single, HandedOver: Single},
}

// TimerRuns reports whether the reconciler evaluates the SAs by itself later.
func (d Duplicates) TimerRuns() bool { return d == Waiting || d == HandingOver }

// String returns the state's name.
func (d Duplicates) String() string {
	return [...]string{"single", "waiting", "handing over", "handed over"}[d]
}
