package peerstate

// Dialling is how far this end is with dialling a peer.
//
//	event     from                     to          the reconciler
//	Queue     Idle, Cancelled          Queued      starts an attempt when there is room
//	Skip      Queued                   Idle        does not dial: something is in the way now
//	Start     Queued                   Attempting  has charon initiate, polls the attempt
//	Stop      Attempting               Idle        stops watching the attempt
//	Pause     Idle, Attempting, Paused Paused      waits before the next attempt
//	Resume    Paused                   Idle        takes the next step
//	Secured   Attempting, Paused       Idle        reports the peer's SA
//	Cancel    Attempting               Cancelled   unloads the connection
//	Cancel    Paused                   Idle        unloads the connection
//	Leave     Attempting, Paused       Idle        leaves the peer to dial
//	Leave     Cancelled                Idle        nothing
//	Swept     Cancelled                Idle        unloads, then ends what is half open
//	LinkLost  all others               Idle        dials anew when charon is back
//
// A peer that is Queued stays so until its turn comes, whatever happens to it: only then the
// reconciler decides whether to dial it. A pause meanwhile would delay nothing.
type Dialling uint8

// The states of dialling.
const (
	Idle       Dialling = iota
	Queued              // waits for a place among the attempts in their first seconds
	Attempting          // charon works on an initiation
	Paused              // waits before the next attempt
	Cancelled           // charon works on an initiation that nobody wants any more
)

// DiallingEvent is what changes a Dialling.
type DiallingEvent uint8

// The events of dialling.
const (
	Queue    DiallingEvent = iota // the peer is to be dialled
	Skip                          // its turn has come, and it cannot be dialled now
	Start                         // its turn has come, and an attempt starts
	Stop                          // the attempt has ended, or does not matter any more
	Pause                         // the next attempt has to wait
	Resume                        // the wait is over
	Secured                       // the peer has an SA
	Cancel                        // the peer is not wanted any more
	Leave                         // this end is not to dial the peer any more
	Swept                         // a job begins to end what is half open
	LinkLost                      // the link to charon has ended
)

// On changes the state by an event.
func (d *Dialling) On(e DiallingEvent) {
	if next, ok := diallings[e][*d]; ok {
		*d = next
	}
}

var diallings = map[DiallingEvent]map[Dialling]Dialling{
	Queue:    {Idle: Queued, Cancelled: Queued},
	Skip:     {Queued: Idle},
	Start:    {Queued: Attempting},
	Stop:     {Attempting: Idle},
	Pause:    {Idle: Paused, Attempting: Paused, Paused: Paused},
	Resume:   {Paused: Idle},
	Secured:  {Attempting: Idle, Paused: Idle},
	Cancel:   {Attempting: Cancelled, Paused: Idle},
	Leave:    {Attempting: Idle, Paused: Idle, Cancelled: Idle},
	Swept:    {Cancelled: Idle},
	LinkLost: {Queued: Idle, Attempting: Idle, Paused: Idle, Cancelled: Idle},
}

// MayQueue reports whether nothing keeps the peer from being queued.
func (d Dialling) MayQueue() bool { return d == Idle || d == Cancelled }

// String returns the state's name.
func (d Dialling) String() string {
	return [...]string{"idle", "queued", "attempting", "paused", "cancelled"}[d]
}
