//go:build lab

package vici

import (
	"strings"
	"testing"
)

// A hub that narrows the selectors to a part of GRE, and one whose own are wider: charon takes
// both. Only the second carries the tunnel.
func TestOtherSelectors(t *testing.T) {
	r := routers(t, 2)
	hub, spoke := r[0].client(), r[1].client()
	part := r[0].applied()
	part.Child = map[string]any{"local_ts": []string{"dynamic[gre/42]"},
		"remote_ts": []string{"dynamic[gre/42]"}}
	hub.SetProfile(part)
	spoke.SetProfile(r[1].applied())
	eventually(t, "the hub's template", func() bool { return r[0].loaded("cygnet-gre1") })
	spoke.Want(r[0].key(), Initiate)
	if reason := spoke.failed(r[0].key(), "one GRE key"); !strings.Contains(reason,
		"gre/42") {
		t.Errorf("the reason is %q", reason)
	}
	for _, e := range spoke.events {
		if up, ok := e.(Up); ok {
			t.Errorf("want no Up, have %+v", up)
		}
	}
	wide := r[0].applied()
	wide.Child = map[string]any{"local_ts": []string{"0.0.0.0/0"},
		"remote_ts": []string{"0.0.0.0/0"}}
	hub.SetProfile(wide)
	spoke.up(r[0].key())
	hub.up(r[1].key())
}

// charon itself refuses a peer whose algorithms the profile does not have. There is never an SA to
// inspect.
func TestWeakProposals(t *testing.T) {
	r := routers(t, 2)
	hub, spoke := r[0].client(), r[1].client()
	hub.SetProfile(r[0].applied())
	weak := r[1].applied()
	weak.Proposals = []string{"3des-sha1-modp1024", "aes128-sha1-modp2048"}
	spoke.SetProfile(weak)
	eventually(t, "the hub's template", func() bool { return r[0].loaded("cygnet-gre1") })
	spoke.Want(r[0].key(), Initiate)
	spoke.failed(r[0].key(), "shares no algorithms")
	weak.Proposals, weak.ESPProposals = nil, []string{"aes128-sha1"}
	spoke.SetProfile(weak)
	spoke.failed(r[0].key(), "NO_PROPOSAL_CHOSEN")
	if sas := shell(t, "ip -n r1 xfrm state"); sas != "" {
		t.Errorf("the hub has states:\n%s", sas)
	}
	for _, w := range []*watch{hub, spoke} {
		for _, e := range w.events {
			if up, ok := e.(Up); ok {
				t.Errorf("%s: want no Up, have %+v", w.name, up)
			}
		}
	}
}

// charon refuses a peer that insists on an IKE_SA without a child.
func TestChildlessRefused(t *testing.T) {
	r := routers(t, 2)
	hub, spoke := r[0].client(), r[1].client()
	hub.SetProfile(r[0].applied())
	childless := r[1].applied()
	childless.Connection = map[string]any{"childless": "force"}
	spoke.SetProfile(childless)
	eventually(t, "the hub's template", func() bool { return r[0].loaded("cygnet-gre1") })
	spoke.Want(r[0].key(), Initiate)
	spoke.failed(r[0].key(), "")
	if out := r[0].swanctl("--list-sas"); strings.Contains(out, "ESTABLISHED") {
		t.Errorf("the hub has an IKE_SA:\n%s", out)
	}
	spoke.SetProfile(r[1].applied())
	spoke.up(r[0].key())
}

// A profile that was made stricter ends the SAs that it does not allow any more, at the end where
// it changed.
func TestStricterProfileEndsSAs(t *testing.T) {
	r, hub, spoke := pair(t)
	strict := r[0].applied()
	strict.RemoteIdentity = "*.example.org"
	hub.SetProfile(strict)
	if reason := hub.down(r[1].key()); !strings.Contains(reason, `proved to be "r2.example.net"`) {
		t.Errorf("the reason is %q", reason)
	}
	spoke.down(r[0].key())
	spoke.failed(r[0].key(), "authentication")
	hub.SetProfile(r[0].applied())
	spoke.up(r[0].key())
}
