//go:build lab

package multicast

import (
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/schedule"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// What is sent to a group reaches each peer of the list once, by unicast, and nobody else. The
// copies have the tunnel's addresses, key and TTL, and the inner type of service.
func TestEachPeerGetsACopy(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	_, r := hub(t, Config{Peers: spokes})
	there := []*capture{listen(t, kerneltest.Spoke1, "gre1"), listen(t, kerneltest.Spoke2, "gre1")}
	wires := []*capture{listen(t, "", "up11"), listen(t, "", "up12")}
	s := newSender(t, "", "gre1")
	sent := []copyOf{{group4, 0}, {hello4, 1}, {group6, 2}, {hello6, 3}}
	s.send(group4, hello4, group6, hello6)
	s.send(group4)
	for i, e := range there {
		if diff := cmp.Diff(sent, e.until(copyOf{group4, 4}), compare...); diff != "" {
			t.Errorf("spoke %d has (-want +got):\n%s", i+1, diff)
		}
		var onWire []outer
		for _, o := range clear(wires[i].all()) {
			if o.copyOf.group.IsValid() {
				onWire = append(onWire, o)
			}
		}
		want := outer{
			from: kerneltest.HubNBMA, to: spokes[i].Outer, tos: 0xc0, ttl: 64,
			protocol: unix.IPPROTO_GRE, key: 42,
		}
		var wanted []outer
		for _, c := range append(sent, copyOf{group4, 4}) {
			want.copyOf = c
			wanted = append(wanted, want)
		}
		if diff := cmp.Diff(wanted, onWire, compare...); diff != "" {
			t.Errorf("on the wire to spoke %d (-want +got):\n%s", i+1, diff)
		}
	}
	if got := statsOf(t, r); got.Taken != 5 || got.Copies != 10 {
		t.Errorf("the counts are %+v", got)
	}

	if err := r.Want([]Change{{Peer: spokes[0], Delete: true}}); err != nil {
		t.Fatal(err)
	}
	if err := r.reconcile(schedule.CauseAsked); err != nil {
		t.Fatal(err)
	}
	s.send(hello4)
	if err := r.Want([]Change{{Peer: spokes[0]}}); err != nil {
		t.Fatal(err)
	}
	if err := r.reconcile(schedule.CauseAsked); err != nil {
		t.Fatal(err)
	}
	s.send(group4)
	if got := there[0].until(copyOf{group4, 6}); len(got) > 0 {
		t.Errorf("a peer that was not in the list got %v", got)
	}
	got := there[1].until(copyOf{group4, 6})
	if !cmp.Equal(got, []copyOf{{hello4, 5}}, compare...) {
		t.Errorf("a peer that stayed in the list got %v", got)
	}
}

var compare = cmp.Options{
	cmp.AllowUnexported(copyOf{}, outer{}), cmp.Comparer(kerneltest.SameAddr),
}
