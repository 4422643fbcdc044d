//go:build lab

package vici

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/vici/profile"
)

// The client reports a wrong PSK in words, with the peer's address and what to check. It goes on
// dialling, and has an SA once the PSK is right.
func TestWrongPSK(t *testing.T) {
	r := routers(t, 2)
	hub, spoke := r[0].client(), r[1].client()
	hub.SetProfile(r[0].applied())
	wrong := r[1].applied()
	wrong.PSK = profile.Secret("wrong")
	spoke.SetProfile(wrong)
	eventually(t, "the hub's template", func() bool { return r[0].loaded("cygnet-gre1") })
	spoke.Want(r[0].key(), Initiate)
	reason := spoke.failed(r[0].key(), "authentication")
	for _, word := range []string{"192.0.2.1", "PSK", `"r2.example.net"`} {
		if !strings.Contains(reason, word) {
			t.Errorf("%q does not name %s", reason, word)
		}
	}
	spoke.failed(r[0].key(), "authentication")
	spoke.SetProfile(r[1].applied())
	spoke.up(r[0].key())
}

// A peer that does not answer, one that has other algorithms, one with other traffic selectors:
// each in its own words.
func TestFailures(t *testing.T) {
	r := routers(t, 2)
	quick := func(t *times) { t.attempt, t.returning = 8*time.Second, 0 }
	hub, spoke := r[0].client(), r[1].client(quick)
	theirs, ours := r[0].applied(), r[1].applied()
	hub.SetProfile(theirs)
	spoke.SetProfile(ours)
	eventually(t, "the hub's template", func() bool { return r[0].loaded("cygnet-gre1") })

	nobody := Key{Interface: "gre1", NBMA: netip.MustParseAddr("192.0.2.99")}
	spoke.Want(nobody, Initiate)
	spoke.failed(nobody, "UDP ports 500 and 4500")
	spoke.Want(nobody, None)

	ours.Proposals = []string{"aes256-sha384-modp3072"}
	spoke.SetProfile(ours)
	spoke.Want(r[0].key(), Initiate)
	spoke.failed(r[0].key(), "proposals")
	spoke.Want(r[0].key(), None)

	ours.Proposals, ours.Child = nil, map[string]any{"remote_ts": []string{"10.9.9.0/24[gre]"}}
	spoke.SetProfile(ours)
	spoke.Want(r[0].key(), Initiate)
	spoke.failed(r[0].key(), "transport mode")
	spoke.failed(r[0].key(), "TS_UNACCEPTABLE")
	spoke.Want(r[0].key(), None)

	ours.Child = map[string]any{"mode": "no such mode"}
	spoke.SetProfile(ours)
	eventually(t, "the refusal", func() bool {
		return strings.Contains(spoke.Status().LastError, "gre1")
	})
	ours.Child = nil
	spoke.SetProfile(ours)
	spoke.Want(r[0].key(), Initiate)
	spoke.up(r[0].key())
	if err := spoke.Status().LastError; err != "" {
		t.Errorf("the status still says %q", err)
	}
}

// A peer that talks charon down to tunnel mode is refused: GRE would not go through such an SA as
// the kernel's policies want it.
func TestTunnelModeRefused(t *testing.T) {
	r := routers(t, 2)
	hub, spoke := r[0].client(), r[1].client()
	theirs := r[0].applied()
	theirs.Child = map[string]any{"mode": "tunnel"}
	hub.SetProfile(theirs)
	spoke.SetProfile(r[1].applied())
	eventually(t, "the hub's template", func() bool { return r[0].loaded("cygnet-gre1") })
	spoke.Want(r[0].key(), Initiate)
	spoke.failed(r[0].key(), "tunnel mode")
	for _, e := range spoke.events {
		if up, ok := e.(Up); ok {
			t.Errorf("want no Up, have %+v", up)
		}
	}
}

// A peer that dies without a word is found by dead peer detection, and dialled again.
func TestDeadPeer(t *testing.T) {
	r := routers(t, 2)
	hub, spoke := r[0].client(), r[1].client()
	hub.SetProfile(r[0].applied())
	p := r[1].applied()
	p.DPDDelay = 2 * time.Second
	spoke.SetProfile(p)
	eventually(t, "the hub's template", func() bool { return r[0].loaded("cygnet-gre1") })
	spoke.Want(r[0].key(), Initiate)
	spoke.up(r[0].key())
	r[0].kill()
	if reason := spoke.down(r[0].key()); !strings.Contains(reason, "stopped answering") {
		t.Errorf("the reason is %q", reason)
	}
	r[0].start()
	spoke.up(r[0].key())
}
