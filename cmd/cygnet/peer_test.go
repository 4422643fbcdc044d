package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/health"
)

// block and unblock pass their arguments to the daemon, and show the outcome as text.
func TestPeerBlock(t *testing.T) {
	d := &daemon{status: &api.Status{Interfaces: []api.Interface{{Name: "gre1", Up: true, Index: 1,
		NBMA: addr("192.0.2.1"), Protected: true,
		Peers:    []api.Peer{{Identity: "spoke1.example.net"}, {Identity: "CN=a b, O=x"}},
		Bindings: []api.Binding{{Identity: "spoke2.example.net"}}}}, Blocked: []api.Blocked{
		{Identity: "spoke1.example.net", Since: ago(time.Hour)},
		{Identity: "spoke2.example.net", Since: ago(time.Minute), Until: in(time.Hour)},
	}}}
	socket := start(t, d)
	for _, c := range []struct{ args, want string }{
		{"peer block spoke1.example.net", "Blocked: spoke1.example.net, until: cygnet peer unblock spoke1.example.net\n"},
		{"peer block SPOKE2.example.net --for 90m", "Blocked: SPOKE2.example.net, for 1h30m\n"},
		{"peer block spoke2.example.net --for 1d", "Blocked: spoke2.example.net, for 24h\n"},
		{"peer block spook1.example.net", "Blocked: spook1.example.net, until: cygnet peer unblock spook1.example.net\nNo router has this identity here now; did you mean spoke1.example.net?\n"},
		{"peer block mallory", "Blocked: mallory, until: cygnet peer unblock mallory\nNo router has this identity here now\n"},
		{"peer unblock spoke1.example.net", "No longer blocked: spoke1.example.net. It gets an SA and is registered when it next tries.\n"},
		{"peer blocked", "IDENTITY            SINCE     UNTIL\nspoke1.example.net  1h0m ago  taken back\nspoke2.example.net  1m0s ago  in 1h0m\n"},
		{"peer block x --json", "{\n  \"identity\": \"x\"\n}\n"},
	} {
		code, out, errs := cygnet(append(strings.Fields(c.args), "--socket", socket)...)
		if code != exitOK || out != c.want {
			t.Errorf("%s: %d %q %s, want %q", c.args, code, out, errs, c.want)
		}
	}
	want := []string{"spoke1.example.net for 0s", "SPOKE2.example.net for 1h30m0s", "spoke2.example.net for 24h0m0s", "spook1.example.net for 0s", "mallory for 0s", "spoke1.example.net no more", "x for 0s"}
	if diff := cmp.Diff(want, d.blocked); diff != "" {
		t.Errorf("the daemon heard: want (-), got (+):\n%s", diff)
	}
	_, out, _ := cygnet("status", "--socket", socket)
	if !strings.Contains(out, "BLOCKED\n  * spoke1.example.net is blocked by an administrator\n  * spoke2.example.net is blocked by an administrator until ") {
		t.Errorf("status: %s", out)
	}
}

// A command in a hint can be pasted into a shell, whatever the identity is.
func TestHintsAreQuoted(t *testing.T) {
	socket := start(t, &daemon{})
	_, out, _ := cygnet("peer", "block", "CN=it's a b, O=x", "--socket", socket)
	want := `Blocked: CN=it's a b, O=x, until: cygnet peer unblock 'CN=it'\''s a b, O=x'`
	if !strings.HasPrefix(out, want) {
		t.Errorf("got %q, want %q", out, want)
	}
	for word, want := range map[string]string{
		"": "''", "a": "a", "a@b.c": "a@b.c", "$(x)": "'$(x)'", "a;b": "'a;b'", "*": "'*'",
		"CN=a": "CN=a",
	} {
		if got := shellWord(word); got != want {
			t.Errorf("%q is written %s, want %s", word, got, want)
		}
	}
}

func TestPeerUsage(t *testing.T) {
	for args, want := range map[string]string{
		"peer":                    "peer takes block IDENTITY, unblock IDENTITY or blocked",
		"peer block":              "peer takes block IDENTITY, unblock IDENTITY or blocked",
		"peer blok x":             "peer takes block IDENTITY, unblock IDENTITY or blocked",
		"peer block x --for -1s":  "--for takes a time above zero, found -1s",
		"peer block x --for soon": "invalid value \"soon\" for flag -for",
		"status --for 1m":         "status takes no --for",
		"leave --config x":        "leave takes no --config",
		"policy":                  "policy takes test IDENTITY ADDRESS",
		"policy test x":           "policy takes test IDENTITY ADDRESS",
		"policy test x 1.2.3":     `found "1.2.3", which is neither an address`,
	} {
		if code, out, errs := cygnet(strings.Fields(args)...); code != exitUsage || out != "" ||
			!strings.Contains(errs, want) {
			t.Errorf("%s: %d %q, want %q", args, code, errs, want)
		}
	}
}

// The problems include a peer that may do nothing here, and an identity that two routers prove.
func TestTroublesOfIdentities(t *testing.T) {
	s := spoke()
	s.Interfaces[0].Peers = []api.Peer{
		{NBMA: addr("203.0.113.1"), Identity: "mallory", State: api.PeerSecured, Prohibited: "no peer rule matches its identity mallory"},
		{NBMA: addr("203.0.113.2"), Identity: "duplicate", State: api.PeerSecured},
		{NBMA: addr("203.0.113.3"), Identity: "duplicate", State: api.PeerSecured},
		{NBMA: addr("203.0.113.4"), Identity: "lone", State: api.PeerSecured},
	}
	var lines []string
	for _, p := range health.Diagnose(s) {
		lines = append(lines, problemLine(&p))
	}
	got := strings.Join(lines, "\n")
	for _, want := range []string{
		"gre1: peer 203.0.113.1 may do nothing here: no peer rule matches its identity mallory",
		"gre1: duplicate is proven from 203.0.113.2 and 203.0.113.3: either two routers have one identity",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "lone") {
		t.Errorf("the lone one is in\n%s", got)
	}
}

// The part about an interface says where clear GRE is stopped.
func TestWhereClearGREIsStopped(t *testing.T) {
	c := &api.ClearGRE{Devices: []string{"eth0", "ppp0"}, Offloaded: []string{"eth1"}, StoppedIn: 9}
	want := "blocked by IPsec policies, and by filters on eth0, ppp0; no filters on eth1, which does ESP itself; 9 packets stopped there"
	if got := clearGRE(c); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
