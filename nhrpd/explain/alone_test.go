package explain

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/kernel/peerlink"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/vici/profile"
)

// The router of these tests has an address of each IP version, and a tunnel in a VRF that sends
// over IPv6 only. At one NAT address there are peers with the marks 7 and 8, and one without a
// mark.
var (
	own4, own6 = addr("192.0.2.1"), addr("2001:db8::1")
	plain, nat = addr("192.0.2.12"), addr("198.51.100.9")
	six        = addr("2001:db8::12")
)

// Where the routers are, by the last byte of their overlay addresses.
var neighbors = map[string]netip.Addr{
	"10.255.0.12": plain,
	"10.255.0.13": xfrm.LinkedNBMA(1),
	"10.255.0.14": xfrm.LinkedNBMA(9), // has no device
	"10.255.0.15": xfrm.MarkedNBMA(7),
	"10.255.0.16": xfrm.MarkedNBMA(9), // has no SA
	"10.255.0.17": nat,
	"10.255.0.18": xfrm.ParkedNBMA(3),
	"10.254.0.12": xfrm.LinkedNBMA(2),
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// fakeKernel returns a kernel with a tunnel gre1, and one gre2 in the VRF blue. Without SAs it has
// no ESP states.
func fakeKernel(sas bool) Kernel {
	way := func(device string, hop, local netip.Addr) Way {
		return Way{Route: api.ExplainedRoute{Device: device, NextHop: hop}, GRE: true, Up: true,
			Local: local}
	}
	return Kernel{
		Way: func(dest netip.Addr, vrf string) (Way, error) {
			switch {
			case vrf == "red":
				return Way{Route: api.ExplainedRoute{Error: "no route"}}, nil
			case vrf == "blue" && strings.HasPrefix(dest.String(), "10.254."):
				return way("gre2", dest, own6), nil
			case strings.HasPrefix(dest.String(), "10.255."):
				return way("gre1", netip.Addr{}, own4), nil
			}
			return Way{Route: api.ExplainedRoute{Device: "eth0"}}, nil
		},
		VRFs: func() ([]string, error) { return []string{"red", "blue"}, nil },
		Neighbor: func(device string, protocol netip.Addr) (rtnl.NeighborEntry, bool, error) {
			at, ok := neighbors[protocol.String()]
			return rtnl.NeighborEntry{Neighbor: rtnl.Neighbor{NBMA: at}, Ours: true}, ok, nil
		},
		Links: func() ([]peerlink.Left, error) {
			return []peerlink.Left{
				{Tunnel: "gre1", Name: xfrm.LinkedNBMA(1), Local: own6, Remote: six},
				{Tunnel: "gre2", Name: xfrm.LinkedNBMA(2), Local: own6, Remote: six},
				{Tunnel: "gre2", Name: xfrm.LinkedNBMA(9), Local: own6, Remote: six},
			}, nil
		},
		States: func(local netip.Addr) ([]xfrm.ESPState, error) {
			if !sas {
				return nil, nil
			}
			return states[local], nil
		},
	}
}

// states are the ESP states of the two addresses. The site sets the mark 99 on what comes through
// the unmarked SA at the NAT address.
var states = map[netip.Addr][]xfrm.ESPState{
	own4: slices.Concat(pair(own4, plain, 0x11, 0), pair(own4, nat, 0x71, 7),
		pair(own4, nat, 0x81, 8), []xfrm.ESPState{
			{Src: own4, Dst: nat, SPI: 0x91},
			{Src: nat, Dst: own4, SPI: 0x92, SetMark: 99},
			{Src: nat, Dst: own4}, // under negotiation
		}),
	own6: pair(own6, six, 0x61, 0),
}

// pair returns the two ESP states of a CHILD_SA.
func pair(local, remote netip.Addr, spi, mark uint32) []xfrm.ESPState {
	out := xfrm.ESPState{Src: local, Dst: remote, SPI: spi}
	if mark != 0 {
		out.Mark, out.MarkMask = mark, math.MaxUint32
	}
	return []xfrm.ESPState{out, {Src: remote, Dst: local, SPI: spi + 1, SetMark: mark}}
}

// charonWith returns a charon with the SAs of those states.
func charonWith() Charon {
	sa := func(id uint32, connection string, remote netip.Addr, mark uint32) api.SA {
		return api.SA{ID: id, Connection: connection, Remote: remote,
			Children: []api.ChildSA{{Mark: mark}}}
	}
	return func(context.Context) ([]api.SA, error) {
		return []api.SA{
			sa(1, "cygnet-gre1-"+plain.String(), plain, 0),
			sa(6, "cygnet-gre1-"+six.String(), six, 0),
			sa(7, profile.SharedName("gre1", nat), nat, 7),
			sa(8, profile.SharedName("gre1", nat), nat, 8),
			sa(9, "cygnet-gre1-"+nat.String(), nat, 99),
		}, nil
	}
}

func noSAs(context.Context) ([]api.SA, error) { return nil, nil }

// Without the daemon an account names the router that the kernel's neighbour stands for, and has
// the SAs and the ESP states with that router alone.
func TestAlone(t *testing.T) {
	denied := errors.New("operation not permitted")
	unreadable := fakeKernel(true)
	unreadable.States = func(netip.Addr) ([]xfrm.ESPState, error) { return nil, denied }
	away := func(context.Context) ([]api.SA, error) { return nil, denied }
	for name, tt := range map[string]struct {
		kernel Kernel
		charon Charon
		dest   string
		want   string
	}{
		"plain": {fakeKernel(true), charonWith(), "10.255.0.12",
			"unknown by gre1 from 192.0.2.1; at 192.0.2.12; " +
				"SAs with 192.0.2.12: [1], states [00000011 00000012]"},
		"plain, without an SA": {fakeKernel(false), noSAs, "10.255.0.12",
			"unknown by gre1 from 192.0.2.1; at 192.0.2.12; SAs with 192.0.2.12: [], states []"},
		"IPv6": {fakeKernel(true), charonWith(), "10.255.0.13",
			"unknown by gre1 from 2001:db8::1; at 2001:db8::12; " +
				"SAs with 2001:db8::12: [6], states [00000061 00000062]"},
		"IPv6, without an SA": {fakeKernel(false), noSAs, "10.255.0.13",
			"unknown by gre1 from 2001:db8::1; at 2001:db8::12; " +
				"SAs with 2001:db8::12: [], states []"},
		"IPv6, without a device": {fakeKernel(true), charonWith(), "10.255.0.14",
			"none (no binding) by gre1 from 192.0.2.1; drops"},
		"marked": {fakeKernel(true), charonWith(), "10.255.0.15",
			"unknown by gre1 from 192.0.2.1; at 198.51.100.9 mark 7; " +
				"SAs with 198.51.100.9 mark 7: [7], states [00000071 00000072]"},
		"marked, and only charon has the SA": {fakeKernel(false), charonWith(), "10.255.0.15",
			"unknown by gre1 from 192.0.2.1; at 198.51.100.9 mark 7; " +
				"SAs with 198.51.100.9 mark 7: [7], states []"},
		"marked, and only the kernel has the SA": {fakeKernel(true), noSAs, "10.255.0.15",
			"unknown by gre1 from 192.0.2.1; at 198.51.100.9 mark 7; " +
				"SAs with 198.51.100.9 mark 7: [], states [00000071 00000072]"},
		"marked, without an SA": {fakeKernel(true), charonWith(), "10.255.0.16",
			"none (no binding) by gre1 from 192.0.2.1; at mark 9; drops; " +
				"SAs with mark 9: [], states []"},
		"marked, and nobody may be asked": {unreadable, away, "10.255.0.15",
			"unknown by gre1 from 192.0.2.1; at mark 7; " +
				"SAs with mark 7: [] (operation not permitted), " +
				"states [] (operation not permitted)"},
		"without a mark, at the address of marked peers": {
			fakeKernel(true), charonWith(), "10.255.0.17",
			"unknown by gre1 from 192.0.2.1; at 198.51.100.9; " +
				"SAs with 198.51.100.9: [9], states [00000091 00000092]"},
		"parked": {fakeKernel(true), charonWith(), "10.255.0.18",
			"none (no binding) by gre1 from 192.0.2.1; drops"},
		"no neighbour": {fakeKernel(true), charonWith(), "10.255.0.99",
			"none (no binding) by gre1 from 192.0.2.1; nowhere"},
		"VRF": {fakeKernel(true), charonWith(), "10.254.0.12",
			"unknown by gre2 from 2001:db8::1; at 2001:db8::12; " +
				"SAs with 2001:db8::12: [6], states [00000061 00000062]"},
		"VRF, without an SA": {fakeKernel(false), noSAs, "10.254.0.12",
			"unknown by gre2 from 2001:db8::1; at 2001:db8::12; " +
				"SAs with 2001:db8::12: [], states []"},
		"no tunnel": {fakeKernel(true), charonWith(), "203.0.113.1",
			"elsewhere by eth0 from no address"},
	} {
		t.Run(name, func(t *testing.T) {
			x, err := Alone(t.Context(), tt.kernel, tt.charon, time.Time{}, addr(tt.dest),
				netip.Addr{})
			if err != nil {
				t.Fatal(err)
			}
			if got := inShort(x); got != tt.want {
				t.Errorf("the account is\n%s, want\n%s", got, tt.want)
			}
		})
	}
}

// inShort writes down the evidence of an account.
func inShort(x *api.Explanation) string {
	place := func(at netip.Addr, mark uint32) string {
		var words []string
		if at.IsValid() {
			words = append(words, at.String())
		}
		if mark != 0 {
			words = append(words, fmt.Sprintf("mark %d", mark))
		}
		return strings.Join(words, " ")
	}
	failed := func(reason string) string {
		if reason == "" {
			return ""
		}
		return " (" + reason + ")"
	}
	text := string(x.Verdict.Path) + failed(string(x.Verdict.Reason))
	for _, s := range x.Steps {
		switch {
		case s.Tunnel != nil:
			from := "no address"
			if s.Tunnel.NBMA.IsValid() {
				from = s.Tunnel.NBMA.String()
			}
			text += fmt.Sprintf(" by %s from %s", s.Tunnel.Interface, from)
		case s.NextHop != nil:
			h := s.NextHop
			at := place(h.Neighbor, h.NeighborMark)
			if at != place(h.NBMA, h.Mark) {
				text += "; and not at " + place(h.NBMA, h.Mark)
			}
			if at != "" {
				text += "; at " + at
			}
			if h.NeighborDrops {
				text += "; drops"
			} else if at == "" {
				text += "; nowhere"
			}
		case s.SA != nil:
			ids, spis := []uint32{}, []string{}
			for _, sa := range s.SA.Charon {
				ids = append(ids, sa.ID)
			}
			for _, state := range s.SA.Kernel {
				spis = append(spis, state.SPI)
			}
			text += fmt.Sprintf("; SAs with %s: %v%s, states %v%s", place(s.SA.NBMA, s.SA.Mark),
				ids, failed(s.SA.CharonError), spis, failed(s.SA.KernelError))
		}
	}
	return text
}

// Whoever asks about every router at an address gets the SAs and the states of all of them.
func TestAnyMark(t *testing.T) {
	all := Peer{NBMA: nat, AnyMark: true}
	sas, _ := charonWith()(t.Context())
	var ids []uint32
	for _, sa := range With(sas, all) {
		ids = append(ids, sa.ID)
	}
	if want := []uint32{7, 8, 9}; !slices.Equal(ids, want) {
		t.Errorf("the SAs at %s are %v, want %v", nat, ids, want)
	}
	found, err := fakeKernel(true).StatesWith([]netip.Addr{own4, own6}, all)
	if err != nil || len(found) != 6 || !found[0].Out || found[1].Out {
		t.Errorf("the states at %s are %+v (%v), want 6, in turns out and in", nat, found, err)
	}
}

// An account ends with the error of what cannot be read at all.
func TestAloneFails(t *testing.T) {
	fail := errors.New("no")
	for name, change := range map[string]func(k *Kernel){
		"the VRFs": func(k *Kernel) { k.VRFs = func() ([]string, error) { return nil, fail } },
		"the route": func(k *Kernel) {
			k.Way = func(netip.Addr, string) (Way, error) { return Way{}, fail }
		},
		"the neighbour": func(k *Kernel) {
			k.Neighbor = func(string, netip.Addr) (rtnl.NeighborEntry, bool, error) {
				return rtnl.NeighborEntry{}, false, fail
			}
		},
		"the devices of IPv6 peers": func(k *Kernel) {
			k.Links = func() ([]peerlink.Left, error) { return nil, fail }
		},
	} {
		k := fakeKernel(true)
		change(&k)
		if _, err := Alone(t.Context(), k, charonWith(), time.Time{}, addr("10.255.0.14"),
			netip.Addr{}); !errors.Is(err, fail) {
			t.Errorf("%s cannot be read: the error is %v", name, err)
		}
	}
}
