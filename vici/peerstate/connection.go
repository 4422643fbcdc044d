package peerstate

// Connection is what charon has of a peer's connection, and which job about the connection runs.
// Only one job at a time is about a connection, since jobs run on several sessions at once.
//
//	state      charon may have it  a job runs  its SAs are to be closed
//	Absent     no                  no          no
//	Loaded     yes                 no          no
//	Used       yes                 yes         no
//	Cleared    no                  yes         no
//	Unloading  yes                 yes         no
//	CloseDue   yes                 no          yes
//	CloseNext  yes                 yes         yes
//	Closing    yes                 yes         yes
//
// The transitions, and what the reconciler does with them:
//
//	event      from                             to         the reconciler
//	Use        Absent, Loaded                   Used       loads the connection and dials by it
//	Clear      Absent                           Cleared    ends IKE_SAs that are half open
//	Clear      Loaded                           Used       the same
//	Clear      CloseDue                         CloseNext  the same
//	Unload     Loaded                           Unloading  unloads the connection
//	Close      Absent, Loaded                   CloseDue   waits for charon
//	Close      Used, Cleared, Unloading         CloseNext  waits for the job
//	CloseBegun CloseDue                         Closing    unloads it and ends all SAs
//	Listed     Absent                           Loaded     unloads it if nobody wants the peer
//	Listed     Cleared                          Used       nothing: charon has the connection
//	Ended      Used, Unloading                  Loaded     takes the next step
//	Ended      Cleared                          Absent     takes the next step
//	Ended      CloseNext, Closing               CloseDue   closes, or waits for charon
//	Unloaded   Loaded, Used, Cleared, Unloading Absent     takes the next step
//	Unloaded   CloseNext, Closing               CloseDue   closes
//	Closed     all others                       Absent     takes the next step
//
// The end of the link to charon is Ended: the job's outcome is not known, so charon may still have
// what was to be unloaded or closed.
type Connection uint8

// The states of a connection.
const (
	Absent    Connection = iota // charon does not have it
	Loaded                      // charon may have it
	Used                        // charon may have it, and a job dials by it or ends attempts
	Cleared                     // charon does not have it, and a job ends attempts
	Unloading                   // a job unloads it
	CloseDue                    // it and its SAs are to be closed
	CloseNext                   // the same, but another job has to end first
	Closing                     // a job closes it and its SAs
)

// ConnectionEvent is what changes a Connection.
type ConnectionEvent uint8

// The events of a connection.
const (
	Use        ConnectionEvent = iota // a job begins to dial by it
	Clear                             // a job begins to end what is left of dialling by it
	Unload                            // a job begins to unload it
	Close                             // the client is asked to close the peer's SAs
	CloseBegun                        // a job begins to do that
	Listed                            // charon lists the connection
	Ended                             // the job has ended, or the link to charon has
	Unloaded                          // the job has unloaded it
	Closed                            // the job has closed it and its SAs
)

// On changes the state by an event.
func (c *Connection) On(e ConnectionEvent) {
	if next, ok := connections[e][*c]; ok {
		*c = next
	}
}

var connections = map[ConnectionEvent]map[Connection]Connection{
	Use:    {Absent: Used, Loaded: Used},
	Clear:  {Absent: Cleared, Loaded: Used, CloseDue: CloseNext},
	Unload: {Loaded: Unloading},
	Close: {Absent: CloseDue, Loaded: CloseDue, Used: CloseNext, Cleared: CloseNext,
		Unloading: CloseNext},
	CloseBegun: {CloseDue: Closing},
	Listed:     {Absent: Loaded, Cleared: Used},
	Ended: {Used: Loaded, Unloading: Loaded, Cleared: Absent, CloseNext: CloseDue,
		Closing: CloseDue},
	Unloaded: {Loaded: Absent, Used: Absent, Cleared: Absent, Unloading: Absent,
		CloseNext: CloseDue, Closing: CloseDue},
	Closed: {Loaded: Absent, Used: Absent, Cleared: Absent, Unloading: Absent, CloseDue: Absent,
		CloseNext: Absent, Closing: Absent},
}

// Busy reports whether a job about the connection runs.
func (c Connection) Busy() bool {
	return c != Absent && c != Loaded && c != CloseDue
}

// MayBeLoaded reports whether charon may have the connection.
func (c Connection) MayBeLoaded() bool { return c != Absent && c != Cleared }

// ToClose reports whether the connection and its SAs are to be closed, or are being closed.
func (c Connection) ToClose() bool { return c >= CloseDue }

// String returns the state's name.
func (c Connection) String() string {
	return [...]string{"absent", "loaded", "used", "cleared", "unloading", "close due",
		"close next", "closing"}[c]
}
