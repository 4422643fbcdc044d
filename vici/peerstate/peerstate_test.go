package peerstate

import "testing"

// wanted are the facts of a peer that this end dials, on an interface whose profile charon has.
var wanted = Facts{Wanted: true, Dialled: true, Profile: true, Ready: true}

// unwanted are the facts of a peer that nobody wants, on the same interface.
var unwanted = Facts{Profile: true, Ready: true}

// checkOthers fails the test for each event and state that no row has if the event changes the
// state.
func checkOthers[S, E comparable](
	t *testing.T, rows map[E]map[S]bool, events []E, states []S, on func(S, E) S,
) {
	t.Helper()
	for _, e := range events {
		for _, s := range states {
			if got := on(s, e); !rows[e][s] && got != s {
				t.Errorf("event %v in state %v: no row has it, and it leads to %v", e, s, got)
			}
		}
	}
}

// note notes that a row has an event in a state.
func note[S, E comparable](rows map[E]map[S]bool, e E, s S) {
	if rows[e] == nil {
		rows[e] = map[S]bool{}
	}
	rows[e][s] = true
}

// Each event takes a connection from one state to the next, and what is done then about a peer
// that is not wanted follows from the new state.
func TestConnection(t *testing.T) {
	rows := map[ConnectionEvent]map[Connection]bool{}
	on := func(c Connection, e ConnectionEvent) Connection { c.On(e); return c }
	for _, row := range []struct {
		event     ConnectionEvent
		from, to  Connection
		then      Step
		mayHaveIt bool // charon may have the connection
	}{
		{Use, Absent, Used, Nothing, true},
		{Use, Loaded, Used, Nothing, true},
		{Clear, Absent, Cleared, Nothing, false},
		{Clear, Loaded, Used, Nothing, true},
		{Clear, CloseDue, CloseNext, Nothing, true},
		{Unload, Loaded, Unloading, Nothing, true},
		{Close, Absent, CloseDue, CloseSAs, true},
		{Close, Loaded, CloseDue, CloseSAs, true},
		{Close, Used, CloseNext, Nothing, true},
		{Close, Cleared, CloseNext, Nothing, true},
		{Close, Unloading, CloseNext, Nothing, true},
		{CloseBegun, CloseDue, Closing, Nothing, true},
		{Listed, Absent, Loaded, UnloadIt, true},
		{Listed, Cleared, Used, Nothing, true},
		{Ended, Used, Loaded, UnloadIt, true},
		{Ended, Cleared, Absent, Drop, false},
		{Ended, Unloading, Loaded, UnloadIt, true},
		{Ended, CloseNext, CloseDue, CloseSAs, true},
		{Ended, Closing, CloseDue, CloseSAs, true},
		{Unloaded, Loaded, Absent, Drop, false},
		{Unloaded, Used, Absent, Drop, false},
		{Unloaded, Cleared, Absent, Drop, false},
		{Unloaded, Unloading, Absent, Drop, false},
		{Unloaded, CloseNext, CloseDue, CloseSAs, true},
		{Unloaded, Closing, CloseDue, CloseSAs, true},
		{Closed, Loaded, Absent, Drop, false},
		{Closed, Used, Absent, Drop, false},
		{Closed, Cleared, Absent, Drop, false},
		{Closed, Unloading, Absent, Drop, false},
		{Closed, CloseDue, Absent, Drop, false},
		{Closed, CloseNext, Absent, Drop, false},
		{Closed, Closing, Absent, Drop, false},
	} {
		note(rows, row.event, row.from)
		got := on(row.from, row.event)
		if got != row.to || got.MayBeLoaded() != row.mayHaveIt {
			t.Errorf("event %v, %v: want %v (charon may have it: %v), have %v (%v)", row.event,
				row.from, row.to, row.mayHaveIt, got, got.MayBeLoaded())
		}
		if then := Next(got, Idle, unwanted); then != row.then {
			t.Errorf("event %v, %v -> %v: want step %v, have %v", row.event, row.from, got,
				row.then, then)
		}
	}
	checkOthers(t, rows,
		[]ConnectionEvent{Use, Clear, Unload, Close, CloseBegun, Listed, Ended, Unloaded, Closed},
		[]Connection{Absent, Loaded, Used, Cleared, Unloading, CloseDue, CloseNext, Closing}, on)
}

// Each event takes dialling from one state to the next, and what is done then about a peer that is
// wanted follows from the new state.
func TestDialling(t *testing.T) {
	rows := map[DiallingEvent]map[Dialling]bool{}
	on := func(d Dialling, e DiallingEvent) Dialling { d.On(e); return d }
	for _, row := range []struct {
		event    DiallingEvent
		from, to Dialling
		then     Step
	}{
		{Queue, Idle, Queued, Dial},
		{Queue, Cancelled, Queued, Dial},
		{Skip, Queued, Idle, Dial},
		{Start, Queued, Attempting, Nothing},
		{Stop, Attempting, Idle, Dial},
		{Pause, Idle, Paused, Nothing},
		{Pause, Attempting, Paused, Nothing},
		{Pause, Paused, Paused, Nothing},
		{Resume, Paused, Idle, Dial},
		{Secured, Attempting, Idle, Dial},
		{Secured, Paused, Idle, Dial},
		{Cancel, Attempting, Cancelled, Dial},
		{Cancel, Paused, Idle, Dial},
		{Leave, Attempting, Idle, Dial},
		{Leave, Paused, Idle, Dial},
		{Leave, Cancelled, Idle, Dial},
		{Swept, Cancelled, Idle, Dial},
		{LinkLost, Queued, Idle, Dial},
		{LinkLost, Attempting, Idle, Dial},
		{LinkLost, Paused, Idle, Dial},
		{LinkLost, Cancelled, Idle, Dial},
	} {
		note(rows, row.event, row.from)
		got := on(row.from, row.event)
		if got != row.to {
			t.Errorf("event %v, %v: want %v, have %v", row.event, row.from, row.to, got)
		}
		if then := Next(Loaded, got, wanted); then != row.then {
			t.Errorf("event %v, %v -> %v: want step %v, have %v", row.event, row.from, got,
				row.then, then)
		}
	}
	checkOthers(t, rows,
		[]DiallingEvent{Queue, Skip, Start, Stop, Pause, Resume, Secured, Cancel, Leave, Swept,
			LinkLost},
		[]Dialling{Idle, Queued, Attempting, Paused, Cancelled}, on)
}

// Each event takes a failure from one kind to another. The log subscription stays for all kinds
// but silence, and the next attempt loads the PSK after an unexplained failure.
func TestFailure(t *testing.T) {
	rows := map[FailureEvent]map[Failure]bool{}
	on := func(f Failure, e FailureEvent) Failure { f.On(e); return f }
	for _, row := range []struct {
		event     FailureEvent
		from, to  Failure
		needsLog  bool
		loadsKeys bool
	}{
		{Silent, Unexplained, Silence, false, false},
		{Silent, Refused, Silence, false, false},
		{Unheard, Silence, Unexplained, true, true},
		{Unheard, Refused, Unexplained, true, true},
		{Explained, Silence, Refused, true, false},
		{Explained, Unexplained, Refused, true, false},
		{Repeated, Unexplained, Refused, true, false},
		{Forget, Unexplained, Silence, false, false},
		{Forget, Refused, Silence, false, false},
	} {
		note(rows, row.event, row.from)
		got := on(row.from, row.event)
		if got != row.to || got.NeedsLog() != row.needsLog || got.ToRepeat() != row.loadsKeys {
			t.Errorf("event %v, %v: want %v, log %v, repeat %v; have %v, %v, %v", row.event,
				row.from, row.to, row.needsLog, row.loadsKeys, got, got.NeedsLog(), got.ToRepeat())
		}
	}
	checkOthers(t, rows, []FailureEvent{Silent, Unheard, Explained, Repeated, Forget},
		[]Failure{Silence, Unexplained, Refused}, on)
}

// Each event takes duplicates from one state to the next. A timer runs while they may become one,
// and while the peer is to agree on the SA that stays.
func TestDuplicates(t *testing.T) {
	rows := map[DuplicatesEvent]map[Duplicates]bool{}
	on := func(d Duplicates, e DuplicatesEvent) Duplicates { d.On(e); return d }
	for _, row := range []struct {
		event     DuplicatesEvent
		from, to  Duplicates
		timerRuns bool
	}{
		{Several, Single, Waiting, true},
		// The profile went before the others were closed, and there is one again.
		{Several, HandedOver, HandingOver, true},
		{TimeOver, Waiting, Single, false},
		{TimeOver, HandingOver, HandedOver, false},
		{HandOver, Single, HandingOver, true},
		{Evaluated, HandedOver, Single, false},
		{Reset, Waiting, Single, false},
		{Reset, HandingOver, Single, false},
		{Reset, HandedOver, Single, false},
	} {
		note(rows, row.event, row.from)
		got := on(row.from, row.event)
		if got != row.to || got.TimerRuns() != row.timerRuns {
			t.Errorf("event %v, %v: want %v, timer %v; have %v, %v", row.event, row.from, row.to,
				row.timerRuns, got, got.TimerRuns())
		}
	}
	checkOthers(t, rows, []DuplicatesEvent{Several, TimeOver, HandOver, Evaluated, Reset},
		[]Duplicates{Single, Waiting, HandingOver, HandedOver}, on)
}

// The next step follows from the states and the facts: a job that runs comes first, then what is to
// be closed, then what is to be unloaded, then dialling.
func TestNext(t *testing.T) {
	noProfile := Facts{Wanted: true, Dialled: true}
	secured, pending := wanted, wanted
	secured.Secured, pending.Ready = true, false
	accepted := Facts{Wanted: true, Profile: true, Ready: true}
	left := unwanted
	left.HasSA = true
	for name, row := range map[string]struct {
		connection Connection
		dialling   Dialling
		facts      Facts
		want       Step
	}{
		"a job runs":                         {Used, Idle, wanted, Nothing},
		"to be closed, though wanted":        {CloseDue, Idle, wanted, CloseSAs},
		"loaded, not wanted":                 {Loaded, Idle, unwanted, UnloadIt},
		"loaded, cancelled":                  {Loaded, Cancelled, unwanted, UnloadIt},
		"loaded, its profile is gone":        {Loaded, Idle, noProfile, UnloadIt},
		"its profile may come":               {Absent, Idle, noProfile, Nothing},
		"neither a profile nor wanted":       {Absent, Idle, Facts{}, Drop},
		"to be dialled":                      {Absent, Idle, wanted, Dial},
		"to be dialled again":                {Loaded, Cancelled, wanted, Dial},
		"queued":                             {Absent, Queued, wanted, Dial},
		"being dialled":                      {Loaded, Attempting, wanted, Nothing},
		"waits before the next attempt":      {Loaded, Paused, wanted, Nothing},
		"has an SA":                          {Loaded, Idle, secured, Nothing},
		"charon has no profile yet":          {Absent, Idle, pending, Nothing},
		"dials in":                           {Absent, Idle, accepted, Nothing},
		"not wanted, has an SA in the table": {Absent, Idle, left, Nothing},
		"not wanted, has none":               {Absent, Idle, unwanted, Drop},
	} {
		if got := Next(row.connection, row.dialling, row.facts); got != row.want {
			t.Errorf("%s: want step %v, have %v", name, row.want, got)
		}
	}
}
