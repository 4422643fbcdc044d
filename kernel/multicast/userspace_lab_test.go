//go:build lab

package multicast

import (
	"net/netip"
	"strings"
	"testing"

	"cygnet/kernel/datapath"
	"cygnet/kernel/kerneltest"
	"cygnet/kernel/schedule"

	"github.com/google/go-cmp/cmp"
)

// Where the programs cannot be had, user space replicates what this host sends, and the state says
// so. The programs take over as soon as they can. No peer gets a packet twice.
func TestUserSpaceReplicates(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	path, first := hub(t, Config{Peers: spokes})
	if err := first.Close(); err != nil { // an earlier run, whose chain would take every packet
		t.Fatal(err)
	}
	possible := false
	cfg := Config{
		Device: "gre1", Index: kerneltest.LinkNamed(t, "gre1").Index,
		Groups: Groups{Deny: prefixes("239.2.0.0/16")},
		Peers:  []Peer{{Outer: kerneltest.Spoke1NBMA, Mark: 7}, spokes[1]},
		Companion: func() (datapath.Companion, error) {
			if !possible {
				return datapath.Companion{}, datapath.ErrNoCompanion
			}
			return path.Companion()
		},
	}
	r, err := Attach(kerneltest.Log(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if s := r.State(); s.Mode != ModeUserSpace || s.Reason == "" || s.Peers != 1 ||
		!strings.Contains(s.Fault, errMarked.Error()) {
		t.Errorf("the state is %+v", s)
	}
	if err := r.Want([]Change{
		{Peer: spokes[0]}, {Peer: cfg.Peers[0], Delete: true},
	}); err != nil {
		t.Fatal(err)
	}
	if err := r.reconcile(schedule.CauseAsked); err != nil {
		t.Fatal(err)
	}
	if s := r.State(); s.Mode != ModeUserSpace || s.Peers != 2 || s.Fault != "" {
		t.Errorf("without a marked peer the state is %+v", s)
	}
	there := []*capture{
		listen(t, kerneltest.Spoke1, "gre1"), listen(t, kerneltest.Spoke2, "gre1"),
	}
	s := newSender(t, "", "gre1")
	denied := netip.MustParseAddr("239.2.1.1")
	s.send(group4, denied, hello6)
	sendTo(t, kerneltest.Spoke2NBMA, "gre1", "", datagram("10.255.0.1", group4.String(), 77))
	s.send(hello4)
	want := [][]copyOf{
		{{group4, 0}, {hello6, 2}}, {{group4, 0}, {hello6, 2}, {group4, 77}},
	}
	for i, e := range there {
		got := e.until(copyOf{hello4, 3})
		if i == 1 { // the one by packet socket may overtake
			got = sorted(got)
		}
		if diff := cmp.Diff(sorted(want[i]), got, compare...); diff != "" {
			t.Errorf("spoke %d got (-want +got):\n%s", i+1, diff)
		}
	}
	if got := statsOf(t, r); got.Filtered != 1 || got.Taken < 3 || got.Copies != 2*got.Taken {
		t.Errorf("the counts are %+v", got)
	}

	possible = true
	if err := r.reconcile(schedule.CauseRetry); err != nil {
		t.Fatal(err)
	}
	if s := r.State(); s.Mode != ModeEBPF || s.Reason != "" || s.Fault != "" || s.Peers != 2 {
		t.Errorf("with the programs the state is %+v", s)
	}
	s.send(group6, hello4)
	for i, e := range there {
		if got := e.until(copyOf{hello4, 5}); !cmp.Equal(got, []copyOf{{group6, 4}}, compare...) {
			t.Errorf("spoke %d got %v", i+1, got)
		}
	}
}
