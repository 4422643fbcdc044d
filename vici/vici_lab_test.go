//go:build lab

package vici

import (
	"testing"
)

func TestPSK(t *testing.T) {
	r := routers(t, 2)
	hub, spoke := r[0].client(), r[1].client()
	hub.SetProfile(r[0].profile())
	spoke.SetProfile(r[1].profile())
	hub.snapshot(0)
	spoke.snapshot(0)
	eventually(t, "the hub's template", func() bool { return r[0].loaded("cygnet-gre1") })

	spoke.Want(r[0].key(), Initiate)
	got := spoke.up(r[0].key())
	if want := (Peer{Interface: "gre1", NBMA: r[0].addr, Identity: "r1.example.net", Initiator: true}); got != want {
		t.Errorf("the spoke was told %+v, want %+v", got, want)
	}
	got = hub.up(r[1].key())
	if want := (Peer{Interface: "gre1", NBMA: r[1].addr, Identity: "r2.example.net"}); got != want {
		t.Errorf("the hub was told %+v, want %+v", got, want)
	}
	t.Logf("%+v", spoke.SAs())
}
