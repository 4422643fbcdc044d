package inquiry

import (
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

const timeout = 3 * time.Second

// spoke is the client that registers.
var spoke = Subject{
	Identity: "spoke",
	Protocol: netip.MustParseAddr("10.255.0.11"),
	Outer:    netip.MustParseAddr("192.0.2.11"),
}

// nobody is the peers of an interface that has none. A call that it does not expect panics.
type nobody struct{ overlay.Peers }

func (nobody) Outer(peerid.ID) netip.Addr { return netip.Addr{} }
func (nobody) Identity(peerid.ID) string  { return "" }

// fixture is the inquiries of an interface to whose server one client registers, in virtual time.
// It stands for the other parts of the interface, too.
type fixture struct {
	Table
	registered bool // the client is
	out        output.Output
	now        time.Time
	happened   []string // what the authorizer and the other parts were told
}

func newFixture(t *testing.T, allow bool) *fixture {
	ifc := overlay.NewInterface(overlay.NewRouter(rand.New(rand.NewPCG(1, 2)), 100), nobody{})
	ifc.Configure(overlay.InterfaceConfig{
		Name:       "gre1",
		Authorizer: overlay.Authorizer{Socket: "/run/authorizer", Timeout: timeout, Allow: allow},
		Limits:     overlay.Limits{Bindings: 10},
	})
	f := &fixture{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	f.Table = New(ifc, f)
	t.Cleanup(func() {
		if err := f.Check(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) RegistrationReleased(peerid.ID, []byte) {
	f.tell("released, " + f.ruling())
}

func (f *fixture) RegisteredAs(s Subject) (Question, bool) {
	return Question{Subject: s, Registered: true}, f.registered
}

func (f *fixture) Registered() iter.Seq[Subject] {
	if f.registered {
		return slices.Values([]Subject{spoke})
	}
	return slices.Values([]Subject(nil))
}

func (f *fixture) Ruled(Subject, *Ruling) { f.tell("ruled, " + f.ruling()) }

func (f *fixture) tell(what string) { f.happened = append(f.happened, what) }

// ruling returns in words what decides about the client now.
func (f *fixture) ruling() string {
	r, text := f.Of(spoke), "allowed"
	switch {
	case r == nil:
		return "no ruling"
	case r.Refused:
		text = "refused"
	}
	if r.Assumed {
		return text + " by default"
	}
	return text
}

// do does one thing at the present time, and records the questions that it asks.
func (f *fixture) do(what func()) {
	f.out.Reset()
	f.Enter(f.now, &f.out)
	what()
	for _, q := range f.out.Inquiries {
		if q.Registered {
			f.tell("asked whether it may stay")
		} else {
			f.tell("asked")
		}
	}
}

// register has the client register, or refresh its registration.
func (f *fixture) register() {
	held := false
	f.do(func() {
		q := Question{Subject: spoke, Registered: f.registered}
		held = f.Await(q, peerid.At(spoke.Outer), []byte("registration"))
	})
	if held {
		f.tell("held")
	} else {
		f.tell("goes on, " + f.ruling())
	}
}

// answer has the authorizer rule about its last question.
func (f *fixture) answer(refused bool) {
	f.do(func() {
		f.Answered(event.Ruling{Interface: "gre1", Inquiry: f.number, Refused: refused,
			Lifetime: time.Hour})
	})
}

// wait lets time pass, timer by timer.
func (f *fixture) wait(d time.Duration) {
	end := f.now.Add(d)
	for due, is := f.Timers.Next(); is && !due.After(end); due, is = f.Timers.Next() {
		f.now = overlay.Later(f.now, due)
		f.do(func() { f.Timers.Advance(f.now) })
	}
	f.now = end
}

// Each line of the table in the package's documentation.
func TestRegistration(t *testing.T) {
	for _, tt := range []struct {
		rule       string
		allow      bool // the default of the configuration
		registered bool
		given, do  func(f *fixture)
		want       []string
	}{
		{
			rule:  "a ruling decides at once",
			given: func(f *fixture) { f.register(); f.answer(true) },
			do:    func(f *fixture) { f.register() },
			want:  []string{"goes on, refused"},
		},
		{
			rule: "without a ruling, the registration of a new client is held until the ruling comes",
			do:   func(f *fixture) { f.register(); f.wait(timeout - 1); f.answer(false) },
			want: []string{"asked", "held", "released, allowed"},
		},
		{
			rule:       "without a ruling, a registered client holds on while the authorizer is asked",
			registered: true,
			do:         func(f *fixture) { f.register(); f.answer(true) },
			want: []string{
				"asked whether it may stay", "goes on, no ruling", "ruled, refused",
			},
		},
		{
			rule: "after the time-out, the default refuses a registration that is held",
			do:   func(f *fixture) { f.register(); f.wait(timeout) },
			want: []string{"asked", "held", "released, refused by default"},
		},
		{
			rule:  "after the time-out, the default allows a registration that is held",
			allow: true,
			do:    func(f *fixture) { f.register(); f.wait(timeout) },
			want:  []string{"asked", "held", "released, allowed by default"},
		},
		{
			rule:       "after the time-out, a registered client holds on; it is asked about again later",
			registered: true,
			given:      func(f *fixture) { f.register(); f.wait(timeout) },
			do: func(f *fixture) {
				f.register()
				f.wait(AgainTime - 1)
				f.tell("later")
				f.wait(1)
			},
			want: []string{"goes on, no ruling", "later", "asked whether it may stay"},
		},
		{
			rule:       "a ruling whose time is over goes on for a registered client",
			registered: true,
			given:      func(f *fixture) { f.register(); f.answer(true) },
			do:         func(f *fixture) { f.wait(time.Hour); f.wait(timeout); f.register() },
			want:       []string{"asked whether it may stay", "goes on, refused"},
		},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t, tt.allow)
			f.registered = tt.registered
			if tt.given != nil {
				tt.given(f)
				f.happened = nil
			}
			tt.do(f)
			if !slices.Equal(f.happened, tt.want) {
				t.Errorf("it is %q, want %q", f.happened, tt.want)
			}
		})
	}
}
