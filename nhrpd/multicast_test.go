package nhrpd

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/kernel/multicast"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/platform"

	"github.com/google/go-cmp/cmp"
)

// fakeReplicator is a Replicator that keeps the list of peers.
type fakeReplicator struct {
	world  *world
	config multicast.Config
	closed chan struct{}

	mu    sync.Mutex
	peers map[multicast.Peer]bool
	state multicast.State
}

// replicate attaches a fake replicator.
func (w *world) replicate(c multicast.Config) (platform.Replicator, error) {
	r := &fakeReplicator{
		world:  w,
		config: c,
		closed: make(chan struct{}),
		peers:  make(map[multicast.Peer]bool),
		state:  multicast.State{Mode: multicast.ModeEBPF},
	}
	for _, p := range c.Peers {
		r.peers[p] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.replicators = append(w.replicators, r)
	return r, nil
}

func (r *fakeReplicator) Want(changes []multicast.Change) error {
	r.world.used("replicator", r.closed)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		if r.peers[c.Peer] == !c.Delete {
			r.world.t.Errorf("the change %+v changes nothing in %v", c, r.peers)
		}
		r.peers[c.Peer] = true
		if c.Delete {
			delete(r.peers, c.Peer)
		}
	}
	return nil
}

func (r *fakeReplicator) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (r *fakeReplicator) State() multicast.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

func (r *fakeReplicator) Stats() (multicast.Stats, error) {
	return multicast.Stats{Taken: 3, Copies: 6, OverRate: 2}, nil
}

func (r *fakeReplicator) Close() error {
	close(r.closed)
	return nil
}

// sends fails the test unless the newest of that many replicators sends to these peers.
func (w *world) sends(number int, want ...multicast.Peer) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	all := slices.Clone(w.replicators)
	w.mu.Unlock()
	if len(all) != number {
		w.t.Fatalf("%d replicators were attached, want %d", len(all), number)
	}
	if number == 0 {
		return
	}
	r := all[number-1]
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := make(map[multicast.Peer]bool)
	for _, p := range want {
		wanted[p] = true
	}
	if !maps.Equal(wanted, r.peers) {
		w.t.Errorf("it sends to %v, want %v", r.peers, want)
	}
}

// A spoke sends what is for groups to its hub, from the registration until it leaves.
func TestGroupsGoToTheHub(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		w.sends(1)
		register(t, w, w.socket(0))
		w.sends(1, multicast.Peer{Outer: hubNBMA})
		if c := w.replicators[0].config; c.Device != "gre1" || c.Index != tunnelThere.Index ||
			c.Rate != (multicast.Rate{Packets: 1000, Bytes: 1_250_000}) || c.Relay {
			t.Errorf("attached with %+v", c)
		}
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := &api.Multicast{Mode: api.MulticastEBPF, Receivers: 1, Packets: 3, Copies: 6}
		if diff := cmp.Diff(want, st.Interfaces[0].Multicast); diff != "" {
			t.Errorf("the status (-want +got):\n%s", diff)
		}
		const over = "multicast: more than limits.multicast_packets or _bytes"
		if n := st.Counters.Dropped[over]; n != 2 {
			t.Errorf("%s: counted %d, not 2", over, n)
		}
		if err := d.Leave(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		w.sends(1)
	})
}

// Where eBPF cannot be had, the status says that the daemon itself copies what is for groups, and
// why.
func TestStatusTellsOfReplicationInUserSpace(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		w.sends(1)
		register(t, w, w.socket(0))
		w.sends(1, multicast.Peer{Outer: hubNBMA})
		r := w.replicators[0]
		r.mu.Lock()
		r.state = multicast.State{Mode: multicast.ModeUserSpace, Reason: "no eBPF"}
		r.mu.Unlock()
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := &api.Multicast{Mode: api.MulticastUserSpace, Reason: "no eBPF", Receivers: 1,
			Packets: 3, Copies: 6}
		if diff := cmp.Diff(want, st.Interfaces[0].Multicast); diff != "" {
			t.Errorf("the status (-want +got):\n%s", diff)
		}
		if !slices.ContainsFunc(st.Problems, func(p api.Problem) bool {
			return p.Code == api.ProblemMulticastUserSpace && strings.HasSuffix(p.Text, ": no eBPF")
		}) {
			t.Errorf("no problem says so: %+v", st.Problems)
		}
	})
}

// A tunnel whose device was made anew has a replicator of its own, with the receivers of now.
func TestNewDeviceKeepsItsReceivers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		w.sends(1, multicast.Peer{Outer: hubNBMA})
		again := tunnelThere
		again.Index++
		w.tunnels["gre1"].states <- again
		w.sends(2, multicast.Peer{Outer: hubNBMA})
		select {
		case <-w.replicators[0].closed:
		default:
			t.Error("the replicator of the device of before is open")
		}
	})
}

// After a restart the programs of the run before go on, until this run has registered with its
// hub: only then does it know the receivers.
func TestEarlierProgramsReplicateUntilRegistered(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.earlierChain = true
		secureHub(w)
		w.sends(0)
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m := st.Interfaces[0].Multicast; m == nil || m.Mode != api.MulticastWaits {
			t.Errorf("the status says %+v", m)
		}
		register(t, w, w.socket(0))
		w.sends(1, multicast.Peer{Outer: hubNBMA})
	})
}

// If the hub does not answer, the programs of an earlier run are replaced once the daemon settles.
func TestEarlierProgramsAreReplacedInTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.earlierChain = true
		secureHub(w)
		time.Sleep(settleTime - time.Second)
		w.sends(0)
		time.Sleep(2 * time.Second)
		w.sends(1)
	})
}

// A receiver behind a shared NAT address is reached at that address by its mark, wherever it moves,
// and not at all while it has no SA.
func TestMarkedReceiver(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.tunnels["gre1"].states <- tunnelThere
		w.sends(1)
		at := func(outer string, gone bool) {
			t.Helper()
			address, _ := netip.ParseAddr(outer)
			err := d.loop.call(t.Context(), func(time.Time) {
				d.loop.out.Marked = append(d.loop.out.Marked, engine.MarkedChange{
					Interface: "gre1", Mark: 7, Outer: address, Delete: gone,
				})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		receives := func(gone bool) {
			t.Helper()
			err := d.loop.call(t.Context(), func(time.Time) {
				d.loop.out.Receivers = append(d.loop.out.Receivers, engine.ReceiverChange{
					PeerKey: engine.PeerKey{Interface: "gre1", ID: peerid.Marked(7)}, Delete: gone,
				})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		receives(false)
		w.sends(1)
		at("198.51.100.1", false)
		w.sends(1, multicast.Peer{Outer: netip.MustParseAddr("198.51.100.1"), Mark: 7})
		at("198.51.100.2", false)
		w.sends(1, multicast.Peer{Outer: netip.MustParseAddr("198.51.100.2"), Mark: 7})
		at("", true)
		w.sends(1)
		at("198.51.100.2", false)
		receives(true)
		w.sends(1)
	})
}

// With multicast off nobody gets anything, and programs of an earlier run go.
func TestMulticastOff(t *testing.T) {
	toml := strings.Replace(spokeToml, "[interface.gre1]\n",
		"[interface.gre1]\nmulticast = []\n", 1)
	inWorldOf(t, []byte(toml), func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		w.sends(0)
		if w.noted("detach multicast gre1") < 0 {
			t.Errorf("programs of an earlier run may be left: %q", w.record)
		}
		if c := w.tunnels["gre1"].config; c.Multicast {
			t.Error("the tunnel is one that carries multicast")
		}
		st, err := d.Status(t.Context())
		if err != nil || st.Interfaces[0].Multicast != nil {
			t.Errorf("the status says %+v, %v", st.Interfaces[0].Multicast, err)
		}
	})
}
