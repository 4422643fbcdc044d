package nhrpd

import (
	"math"
	"net/netip"
	"testing"
	"testing/synctest"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/explain"
	"cygnet/vici"
	"cygnet/vici/profile"

	"github.com/google/go-cmp/cmp"
)

// explainKernel is what explain finds in the kernel of a world. world.mu guards
// its fields.
type explainKernel struct {
	ways     map[string]explain.Way // by VRF
	neighbor netip.Addr             // link-layer address of every neighbour; zero: there is none
}

// kernel returns the functions that read it.
func (k *explainKernel) kernel(w *world) explain.Kernel {
	return explain.Kernel{
		Way: func(_ netip.Addr, vrf string) (explain.Way, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return k.ways[vrf], nil
		},
		Neighbor: func(string, netip.Addr) (rtnl.NeighborEntry, bool, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return rtnl.NeighborEntry{Neighbor: rtnl.Neighbor{NBMA: k.neighbor}, Ours: true},
				k.neighbor.IsValid(), nil
		},
		States: func(netip.Addr) ([]xfrm.ESPState, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.states, nil
		},
	}
}

// The evidence of a router names where the kernel's neighbour leads to, and has the SAs and the ESP
// states with that router alone, also where several routers are behind one NAT address.
func TestExplainEvidence(t *testing.T) {
	plain, nat := netip.MustParseAddr("192.0.2.12"), netip.MustParseAddr("198.51.100.9")
	six, local6 := netip.MustParseAddr("2001:db8::12"), netip.MustParseAddr("2001:db8::11")
	at := func(nbma netip.Addr, mark uint32) api.ExplainedNextHop {
		return api.ExplainedNextHop{Neighbor: nbma, NeighborMark: mark, Ours: true}
	}
	drops := api.ExplainedNextHop{NeighborDrops: true, Ours: true}
	for name, tt := range map[string]struct {
		neighbor netip.Addr
		nbma     netip.Addr
		mark     uint32
		want     api.ExplainedNextHop
		sas      []uint32
		states   []string
	}{
		"plain": {plain, plain, 0, at(plain, 0), []uint32{1}, []string{"00000011"}},
		"IPv6": {xfrm.LinkedNBMA(1), six, 0, at(six, 0), []uint32{6},
			[]string{"00000061", "00000062"}},
		"IPv6, of a name that nobody has": {xfrm.LinkedNBMA(6), six, 0, drops, []uint32{6},
			[]string{"00000061", "00000062"}},
		"marked": {xfrm.MarkedNBMA(7), nat, 7, at(nat, 7), []uint32{7},
			[]string{"00000071", "00000072"}},
		"marked, and not known": {xfrm.MarkedNBMA(9), nat, 9, drops, nil, nil},
		"at that NAT address without a mark": {nat, nat, 0, at(nat, 0), []uint32{9},
			[]string{"00000091"}},
		"parked": {xfrm.ParkedNBMA(1), nat, 1<<24 + 1, drops, nil, nil},
		"no neighbour": {netip.Addr{}, plain, 0, api.ExplainedNextHop{}, []uint32{1},
			[]string{"00000011"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world, d *Daemon) {
				if name := d.loop.names.Of(six); name != xfrm.LinkedNBMA(1) {
					t.Fatalf("the first name is %s", name)
				}
				w.mu.Lock()
				w.states = []xfrm.ESPState{
					{Src: spokeNBMA, Dst: plain, SPI: 0x11},
					{Src: local6, Dst: six, SPI: 0x61},
					{Src: six, Dst: local6, SPI: 0x62},
					{Src: spokeNBMA, Dst: nat, SPI: 0x71, Mark: 7, MarkMask: math.MaxUint32},
					{Src: nat, Dst: spokeNBMA, SPI: 0x72, SetMark: 7},
					{Src: spokeNBMA, Dst: nat, SPI: 0x91},
				}
				w.sas = []vici.SA{
					{ID: 1, Connection: "cygnet-gre1-192.0.2.12", RemoteHost: plain},
					{ID: 6, Connection: "cygnet-gre1-2001:db8::12", RemoteHost: six},
					{ID: 7, Connection: profile.SharedName("gre1", nat), RemoteHost: nat,
						Children: []vici.Child{{Mark: 7}}},
					{ID: 9, Connection: "cygnet-gre1-198.51.100.9", RemoteHost: nat},
				}
				w.explain.neighbor = tt.neighbor
				w.mu.Unlock()
				hop := &api.ExplainedNextHop{}
				sa := &api.ExplainedSA{NBMA: tt.nbma, Mark: tt.mark}
				x := &api.Explanation{Steps: []api.ExplainStep{
					{Tunnel: &api.ExplainedTunnel{Interface: "gre1"}}, {NextHop: hop}, {SA: sa}}}
				err := d.addEvidence(t.Context(), x, []netip.Addr{spokeNBMA, local6},
					map[uint32]netip.Addr{7: nat})
				if err != nil {
					t.Fatal(err)
				}
				same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
				if diff := cmp.Diff(tt.want, *hop, same); diff != "" {
					t.Errorf("where the kernel has it: want (-), have (+):\n%s", diff)
				}
				var sas []uint32
				for _, found := range sa.Charon {
					sas = append(sas, found.ID)
				}
				var states []string
				for _, found := range sa.Kernel {
					states = append(states, found.SPI)
				}
				if !cmp.Equal(tt.sas, sas) || !cmp.Equal(tt.states, states) {
					t.Errorf("have the SAs %v and the states %v, want %v and %v", sas, states,
						tt.sas, tt.states)
				}
			})
		})
	}
}

// The account is about a tunnel in a VRF if the host's own table leads into none of the daemon's.
// The VRFs of tunnels that are not the daemon's are not asked.
func TestExplainInVRF(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.mu.Lock()
		route := func(device string) explain.Way {
			return explain.Way{GRE: true, Route: api.ExplainedRoute{Device: device}}
		}
		w.explain.ways = map[string]explain.Way{
			"": route("eth0"), "blue": route("gre1"), "red": route("gre1"),
		}
		w.mu.Unlock()
		for _, step := range []struct {
			vrf, device string
			path        api.PathKind
		}{
			{"", "eth0", api.PathElsewhere},
			{"green", "eth0", api.PathElsewhere},
			{"blue", "gre1", api.PathNone}, // nobody knows a router there
		} {
			st := tunnelThere
			st.Master = step.vrf
			w.tunnels["gre1"].states <- st
			synctest.Wait()
			x, err := d.Explain(t.Context(), netip.MustParseAddr("10.255.0.12"), netip.Addr{})
			if err != nil {
				t.Fatal(err)
			}
			if device := x.Steps[0].Route.Device; device != step.device ||
				x.Verdict.Path != step.path {
				t.Errorf("with the tunnel in the VRF %q: by %s, %+v; want by %s, %s", step.vrf,
					device, x.Verdict, step.device, step.path)
			}
		}
	})
}
