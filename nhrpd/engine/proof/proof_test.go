package proof

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

const (
	mtu     = 1400
	timeout = 3 * time.Second
)

// The other end of the path.
var (
	other   = peerid.At(netip.MustParseAddr("192.0.2.12"))
	nextHop = netip.MustParseAddr("10.255.0.12")
)

// noParts stands for the parts above the peers. A call panics, since none is expected.
type noParts struct{ peers.Parts }

// fixture is the proofs of an interface with one direct path, in virtual time. Data takes the path
// all the time. The fixture stands for the parts above the proofs, too.
type fixture struct {
	*Table
	t   *testing.T
	out output.Output
	now time.Time

	passes   int      // the size in bytes of the longest packet that passes both ways; 0: none does
	lose     int      // how many packets of full size are lost by chance
	ref      Ref      // the shortcut's
	happened []string // what the shortcut was told of the path
}

func newFixture(t *testing.T, smaller bool) *fixture {
	f := &fixture{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	ifc := overlay.NewInterface(overlay.NewRouter(rand.New(rand.NewPCG(1, 2)), 100), nil)
	ifc.Configure(overlay.InterfaceConfig{
		Name:    "gre1",
		Address: netip.MustParsePrefix("10.255.0.11/24"),
		MTU:     mtu,
		Paths:   overlay.Paths{Prove: true, SmallerMTU: smaller, Timeout: timeout},
		Limits:  overlay.Limits{Shortcuts: 10},
	})
	ifc.Local = netip.MustParseAddr("192.0.2.11")
	ps := peers.New(ifc, noParts{}, 0)
	ifc.Peers = &ps
	table := New(ifc, &ps, f)
	f.Table = &table
	f.do(func() { ps.At(other) })
	t.Cleanup(func() {
		refs := 0
		if f.ref.Held() {
			refs = 1
		}
		if err := f.Check(refs); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) PathProven(_ peerid.ID, mtu uint16) {
	if mtu == 0 {
		f.tell("proven")
	} else {
		f.tell(fmt.Sprintf("small, %d bytes", mtu))
	}
}

// PathFailed ends the shortcut, as the requester does.
func (f *fixture) PathFailed(peerid.ID, string, time.Time) {
	f.tell("failed")
	f.Release(&f.ref)
}

func (f *fixture) PathDead(peerid.ID)           {}
func (f *fixture) TakesDataFrom(peerid.ID) bool { return true }

func (f *fixture) tell(what string) { f.happened = append(f.happened, what) }

// do does one thing at the present time. The other router answers the probes that reach it.
func (f *fixture) do(what func()) {
	f.t.Helper()
	f.out.Reset()
	f.Enter(f.now, &f.out)
	what()
	var replies []overlay.Message
	for _, p := range f.out.Packets {
		m := packet.Packet{}
		if err := m.Parse(slices.Clone(p.Data)); err != nil {
			f.t.Fatalf("a probe cannot be parsed: %v", err)
		}
		if f.lose > 0 && len(p.Data) == mtu {
			f.lose--
			continue
		}
		if len(p.Data) <= f.passes {
			replies = append(replies, overlay.Message{Packet: &m, From: p.To})
		}
	}
	used := len(f.out.ReadUse) > 0
	for _, m := range replies {
		f.do(func() { f.Answered(&m) })
	}
	if used {
		f.do(f.use)
	}
}

// use tells when data last passed on the path: data goes out all the time, and comes back unless
// the path is dead.
func (f *fixture) use() {
	in := f.now
	if f.passes == 0 {
		in = time.Time{}
	}
	f.peers.ByID[other].Used(in, f.now)
	f.Review(true)
}

// shortcut has a shortcut use the path, if it may.
func (f *fixture) shortcut() {
	f.do(func() {
		switch f.Refer(&f.ref, other, nextHop, true) {
		case Usable:
			f.tell("usable")
		case Pending:
			f.tell("pending")
		case Unusable:
			f.tell("unusable")
			f.Release(&f.ref)
		}
	})
}

// wait lets time pass, timer by timer.
func (f *fixture) wait(d time.Duration) {
	f.t.Helper()
	end := f.now.Add(d)
	for due, is := f.Timers.Next(); is && !due.After(end); due, is = f.Timers.Next() {
		f.now = overlay.Later(f.now, due)
		f.do(func() { f.Timers.Advance(f.now) })
	}
	f.now = end
}

// Each arrow of the drawing in the package's documentation.
func TestStates(t *testing.T) {
	const small = 1000
	for _, tt := range []struct {
		rule      string
		noSmaller bool // a path that loses large packets counts as failed
		before    int  // what passes until the path has the state that the arrow begins at
		given, do func(f *fixture)
		passes    int // what passes then
		want      []string
		state     report.PathState
	}{
		{
			rule:   "unproven to proven: the probes are answered",
			passes: mtu,
			want:   []string{"pending", "proven"},
			state:  report.PathProven,
		},
		{
			rule:   "unproven to small: large probes are lost",
			passes: small,
			want:   []string{"pending", "small, 1000 bytes"},
			state:  report.PathSmall,
		},
		{
			rule:      "unproven to failed: large probes are lost, and no smaller MTU is wanted",
			noSmaller: true,
			passes:    small,
			want:      []string{"pending", "failed"},
			state:     report.PathFailed,
		},
		{
			rule:  "unproven to failed: no probe is answered",
			want:  []string{"pending", "failed"},
			state: report.PathFailed,
		},
		{
			rule:   "proven to small: large packets are lost now",
			before: mtu,
			given:  (*fixture).shortcut,
			do:     func(f *fixture) { f.wait((longEvery + 2) * timeout) },
			passes: small,
			want:   []string{"small, 1000 bytes"},
			state:  report.PathSmall,
		},
		{
			rule:   "proven it stays if one series loses its large probes by chance",
			before: mtu,
			given:  (*fixture).shortcut,
			do:     func(f *fixture) { f.lose = probeTries; f.wait((longEvery + 2) * timeout) },
			passes: mtu,
			state:  report.PathProven,
		},
		{
			rule:   "proven to failed: nothing comes back now",
			before: mtu,
			given:  (*fixture).shortcut,
			do:     func(f *fixture) { f.wait(2 * timeout) },
			want:   []string{"failed"},
			state:  report.PathFailed,
		},
		{
			rule:   "small to failed: nothing comes back now",
			before: small,
			given:  func(f *fixture) { f.shortcut(); f.wait(timeout) },
			do:     func(f *fixture) { f.wait(2 * timeout) },
			want:   []string{"failed"},
			state:  report.PathFailed,
		},
		{
			rule:  "failed to proven: the cool-down is over, and the probes are answered",
			given: func(f *fixture) { f.shortcut(); f.wait(timeout) },
			do: func(f *fixture) {
				_, until := f.Retry(other)
				f.wait(until.Sub(f.now) - 1)
				f.shortcut()
				f.wait(1)
				f.shortcut()
			},
			passes: mtu,
			want:   []string{"unusable", "pending", "proven"},
			state:  report.PathProven,
		},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t, !tt.noSmaller)
			f.passes = tt.before
			if tt.given != nil {
				tt.given(f)
				f.happened = nil
			}
			f.passes = tt.passes
			if tt.do == nil {
				tt.do = func(f *fixture) { f.shortcut(); f.wait(timeout) }
			}
			tt.do(f)
			if !slices.Equal(f.happened, tt.want) {
				t.Errorf("the shortcut is told %q, want %q", f.happened, tt.want)
			}
			if f.lose > 0 {
				t.Errorf("%d large probes fewer were sent than were to be lost", f.lose)
			}
			if st, _ := f.Status(other); st.State != tt.state {
				t.Errorf("the state of the path is %d, want %d", st.State, tt.state)
			}
		})
	}
}
