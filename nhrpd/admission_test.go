package nhrpd

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/kernel/datapath"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/translate"

	"cygnet/nhrpd/engine/peerid"
)

// fakePath is a data path without a kernel. It lets nothing pass, and remembers which peers it was
// told to admit.
type fakePath struct {
	world  *world
	config datapath.Config
	closed chan struct{}

	mu       sync.Mutex
	admitted map[netip.Addr]datapath.Admission
	settled  bool
	state    datapath.State
}

// become changes the state of the data path and reports the change, as the kernel's data path does.
func (p *fakePath) become(st datapath.State) {
	p.mu.Lock()
	p.state = st
	p.mu.Unlock()
	p.config.Changed(st)
}

// attach returns a new data path, or an error in a world without eBPF.
func (w *world) attach(c datapath.Config) (datapath.Path, error) {
	if !w.eBPF {
		return nil, errors.New("no data path in this world")
	}
	p := &fakePath{
		world:    w,
		config:   c,
		closed:   make(chan struct{}),
		admitted: map[netip.Addr]datapath.Admission{},
		state:    datapath.State{Mode: datapath.ModeEBPF, Admission: c.Admission},
	}
	for _, a := range c.Admitted {
		p.admitted[a.NBMA] = a
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paths = append(w.paths, p)
	return p, nil
}

func (p *fakePath) State() datapath.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (p *fakePath) Use() ([]datapath.Use, error)              { return nil, datapath.ErrNoUse }
func (p *fakePath) Sent() ([]datapath.Sent, error)            { return p.world.sentNow(), nil }
func (p *fakePath) EnableMarks() error                        { return datapath.ErrNoMarks }
func (p *fakePath) SetMarked(map[netip.Addr]netip.Addr) error { return datapath.ErrNoMarks }
func (p *fakePath) Companion() (datapath.Companion, error) {
	return datapath.Companion{}, datapath.ErrNoCompanion
}
func (p *fakePath) Links() (datapath.Links, error) { return datapath.Links{}, nil }
func (p *fakePath) Stats() (datapath.Stats, error) {
	p.world.used("data path", p.closed)
	return datapath.Stats{
		NotAdmitted: 5,
		Limited:     6,
		Lost:        7,
		Foreign:     8,
		Restored:    9,
		OverShare:   10,
		NHRPFlood:   11,
		MSSLowered:  12,
	}, nil
}
func (p *fakePath) Close() error { close(p.closed); p.world.isClosed(); return nil }
func (p *fakePath) Run(ctx context.Context, _ func(datapath.Redirect)) error {
	select {
	case <-ctx.Done():
	case <-p.closed:
	}
	return nil
}

func (p *fakePath) Admit(changes []datapath.Admission) error {
	p.world.used("data path", p.closed)
	for _, c := range changes {
		p.world.note("admit " + c.NBMA.String())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range changes {
		if c.Delete {
			delete(p.admitted, c.NBMA)
		} else {
			p.admitted[c.NBMA] = c
		}
	}
	return nil
}

func (p *fakePath) Settle() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settled = true
	return nil
}

// admits returns the peers that the data path admits now.
func (p *fakePath) admits() map[netip.Addr]datapath.Admission {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.admitted)
}

// The admission of the hub as an NHS, and a comparison of addresses.
var (
	theNHS    = datapath.Admission{NBMA: hubNBMA, NHS: true}
	sameAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
)

// The programs admit, from their first packet on, the peers that the engine wants admitted. Once
// the daemon has settled, the programs no longer admit what only an earlier run had admitted.
func TestAdmissionReachesTheKernel(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.eBPF = true
		secureHub(w)
		path := w.paths[0]
		if c := path.config; !c.Admission || c.SourceCheck || !c.Client || !c.Adopt ||
			c.Peers < 2*4096 {
			t.Errorf("attached with %+v", c)
		}
		if diff := cmp.Diff(
			[]datapath.Admission{theNHS}, path.config.Admitted, sameAddrs,
		); diff != "" {
			t.Errorf("attached with (-want +got):\n%s", diff)
		}
		time.Sleep(settleTime)
		synctest.Wait()
		if !path.settled {
			t.Error("never settled")
		}
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Interfaces[0].Admission; got != api.AdmissionPeers ||
			st.Counters.Dropped["data: not admitted"] != 5 {
			t.Errorf("the status says %q, dropped %v", got, st.Counters.Dropped)
		}
		for reason, n := range map[string]uint64{
			"redirect not looked at: too many a second":    6,
			"redirect not looked at: the daemon is busy":   7,
			"NFLOG: logged by a rule that is too broad":    8,
			"redirect not looked at: too many of one peer": 10,
			"NHRP: too much from one peer":                 11,
		} {
			if st.Counters.Dropped[reason] != n {
				t.Errorf("%s: counted %d, not %d", reason, st.Counters.Dropped[reason], n)
			}
		}
		if k := st.Tables; k.WantedNeighbors != 3 || k.Failing != 1 || len(k.Failures) != 1 ||
			st.StrongSwan.EventsDropped != 2 {
			t.Errorf("of the kernel's tables the status says %+v, of charon %+v", k, st.StrongSwan)
		}
		if err := d.Leave(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if got := path.admits(); len(got) != 0 {
			t.Errorf("after leaving %v are admitted", got)
		}
	})
}

// The status tells the data path's state at that moment. When the state changes, the daemon asks
// for marks again if it had none, because the reason may be gone.
func TestStatusTellsWhatHolds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.eBPF = true
		secureHub(w)
		path := w.paths[0]
		for _, test := range []struct {
			state datapath.State
			want  api.Interface
		}{
			{datapath.State{Reason: "no program"},
				api.Interface{
					Admission:       api.AdmissionUnenforced,
					AdmissionReason: "no program",
				}},
			{datapath.State{Mode: datapath.ModeNFLOG, Reason: "no program", Marks: "no companion"},
				api.Interface{
					Admission:       api.AdmissionUnenforced,
					AdmissionReason: "no program",
					Sampling:        api.SamplingNFLOG,
					MarksError:      "no companion",
				}},
			{datapath.State{
				Mode:      datapath.ModeEBPF,
				Admission: true,
				Fault:     "full",
				Ahead:     "another's",
			},
				api.Interface{
					Admission:       api.AdmissionPeers,
					AdmissionReason: "another's",
					Sampling:        api.SamplingEBPF,
					DataPathError:   "full",
				}},
			{datapath.State{Mode: datapath.ModeEBPF, Admission: true},
				api.Interface{Admission: api.AdmissionPeers, Sampling: api.SamplingEBPF}},
		} {
			path.become(test.state)
			synctest.Wait()
			st, err := d.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			i := st.Interfaces[0]
			got := api.Interface{
				Admission:       i.Admission,
				AdmissionReason: i.AdmissionReason,
				Sampling:        i.Sampling,
				MarksError:      i.MarksError,
				DataPathError:   i.DataPathError,
			}
			if diff := cmp.Diff(test.want, got, sameAddrs, cmp.Comparer(samePrefix)); diff != "" {
				t.Errorf("with %+v the status (-want +got):\n%s", test.state, diff)
			}
			if i.DataPathRestored != 9 || i.MSSLowered != 12 {
				t.Errorf("restored: %d, want 9; segment sizes lowered: %d, want 12",
					i.DataPathRestored, i.MSSLowered)
			}
		}
	})
}

// samePrefix reports whether two prefixes are the same.
func samePrefix(a, b netip.Prefix) bool { return a == b }

// Without eBPF the data of every router with an SA passes, and the status says so.
func TestAdmissionIsNotEnforcedWithoutEBPF(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Interfaces[0].Admission; got != api.AdmissionUnenforced {
			t.Errorf("the status says %q", got)
		}
	})
}

// The engine may change admissions after the programs are attached and before the loop has them.
// Those changes are not lost.
func TestAdmissionCatchesUp(t *testing.T) {
	w := newWorld(t)
	c := testConfig(t, []byte(spokeToml), t.TempDir())
	d := New("", c, w.platform(), t.Output())
	now := time.Now()
	d.loop.engine.Configure(now, translate.EngineConfig(c), &d.loop.out)
	d.loop.engine.Handle(now, engine.NHSResolved{
		Interface: "gre1",
		Name:      "hub.example.net",
		NBMA:      []netip.Addr{theNHS.NBMA},
	}, &d.loop.out)
	gone := netip.MustParseAddr("192.0.2.99")
	path := &fakePath{
		world:    w,
		admitted: map[netip.Addr]datapath.Admission{gone: {NBMA: gone}},
	}
	d.loop.open(d.newRunner(c.Interfaces[0]))
	gre1 := d.loop.iface("gre1")
	gre1.channel = &channel{path: path, admitted: []engine.AdmissionChange{
		{PeerKey: engine.PeerKey{Interface: "gre1", ID: peerid.At(gone)}},
	}}
	d.loop.catchUp(gre1)
	want := map[netip.Addr]datapath.Admission{theNHS.NBMA: theNHS}
	if diff := cmp.Diff(want, path.admits(), sameAddrs); diff != "" {
		t.Errorf("admitted (-want +got):\n%s", diff)
	}
}
