package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ruled = `[interface.gre1]
address  = "10.255.0.1/22"
underlay = "eth0"
accept   = ["172.16.0.0/12"]

[[interface.gre1.peer]]
identity  = "spoke-{n}.example.net"
addresses = ["10.255.0.0+{n}"]
announce  = ["172.16.0.0/24+{n}"]
shortcut  = false

[[interface.gre1.peer]]
identity  = "CN=*, O=Example"
addresses = ["10.255.1.0/24"]

[interface.gre1.ipsec]
identity = "hub.example.net"
auth     = "certificate"
remote_identity = "CN=*, O=*"

[interface.gre2]
address  = "10.254.0.1/24"
underlay = "eth1"
key      = 2

[interface.gre2.ipsec]
identity = "hub.example.net"
auth     = "certificate"
`

// The text output has the verdict with every reason.
func TestPolicyTest(t *testing.T) {
	file := t.TempDir() + "/c.toml"
	write(t, file, ruled)
	for _, c := range []struct {
		identity, asked string
		code            int
		want            string
	}{
		{"spoke-300.example.net", "10.255.1.44", exitOK, `ALLOWED: 10.255.1.44 for spoke-300.example.net on gre1
  rule       spoke-{n}.example.net (FILE:6)
  capture    {n} is 300
  because    addresses gives it 10.255.1.44
  shortcut   none: its traffic stays on the hub
`},
		{"spoke-17.example.net", "10.255.0.18", exitWrong, `REFUSED: 10.255.0.18 for spoke-17.example.net on gre1
  rule       spoke-{n}.example.net (FILE:6)
  capture    {n} is 17
  because    addresses gives it 10.255.0.17, not 10.255.0.18
  shortcut   none: its traffic stays on the hub
`},
		{"spoke-17.example.net", "172.16.17.0/24", exitOK, `ALLOWED: 172.16.17.0/24 for spoke-17.example.net on gre1
  rule       spoke-{n}.example.net (FILE:6)
  capture    {n} is 17
  because    announce lets it announce 172.16.17.0/24
  because    accept takes 172.16.0.0/12
  shortcut   none: its traffic stays on the hub
`},
		{"spoke-17.example.net", "172.16.18.0/24", exitWrong, `REFUSED: 172.16.18.0/24 for spoke-17.example.net on gre1
  rule       spoke-{n}.example.net (FILE:6)
  capture    {n} is 17
  because    announce lets it announce 172.16.17.0/24, not 172.16.18.0/24
  shortcut   none: its traffic stays on the hub
`},
		{"CN=a b,O=Example", "172.20.0.0/16", exitOK, `ALLOWED: 172.20.0.0/16 for CN=a b,O=Example on gre1
  rule       CN=*, O=Example (FILE:12)
  because    accept takes 172.16.0.0/12
`},
		{"CN=M??ller, O=Example", "172.20.0.0/16", exitWrong, `REFUSED: 172.20.0.0/16 for CN=M??ller, O=Example on gre1
  because    its identity CN=M??ller, O=Example has letters outside ASCII, for which strongSwan shows ?, so that others may look the same: give it a subject without them, or a subjectAltName as its identity
`},
		{"mallory", "10.255.0.17", exitWrong, `REFUSED: 10.255.0.17 for mallory on gre1
  because    no peer rule matches the identity: it may do nothing
`},
	} {
		code, out, errs := cygnet("policy", "test", c.identity, c.asked, "--config", file, "--interface", "gre1")
		if diff := cmp.Diff(c.want, strings.ReplaceAll(out, file, "FILE")); diff != "" ||
			code != c.code || errs != "" {
			t.Errorf("%s %s: %d %s, want (-), got (+):\n%s", c.identity, c.asked, code, errs, diff)
		}
	}
}

// policy test evaluates all interfaces, and it is enough if one permits the address. Without rules
// the first router to register an address may have it.
func TestPolicyTestOfAllInterfaces(t *testing.T) {
	file := t.TempDir() + "/c.toml"
	write(t, file, ruled)
	code, out, errs := cygnet("policy", "test", "mallory", "10.254.0.9", "--config", file, "--json")
	var got []verdict
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitOK || errs != "" ||
		strings.Contains(out, "null") {
		t.Fatalf("%d %v %s\n%s", code, err, errs, out)
	}
	if len(got) != 2 || got[0].Allowed || !got[1].Allowed || got[1].Rule != "" {
		t.Errorf("got %+v", got)
	}
	for asked, why := range map[string]string{
		"10.254.0.1":    "10.254.0.1 is this router's own address",
		"10.253.0.1":    "10.253.0.1 is outside the overlay 10.254.0.0/24",
		"172.16.1.0/24": "accept takes nothing, not 172.16.1.0/24",
	} {
		code, out, _ := cygnet("policy", "test", "mallory", asked,
			"--config", file, "--interface", "gre2")
		if code != exitWrong || !strings.Contains(out, why) {
			t.Errorf("%s: %d %s, want %q", asked, code, out, why)
		}
	}
	spoke := t.TempDir() + "/spoke.toml"
	write(t, spoke, strings.Replace(ruled, "accept   = [\"172.16.0.0/12\"]", "nhs = [{ nbma = \"192.0.2.9\" }]", 1))
	for asked, why := range map[string]string{
		"10.255.0.17":    "so the rule is about answers and shortcuts only",
		"172.16.17.0/24": "this router takes no registrations (server)",
	} {
		if _, out, errs := cygnet(
			"policy", "test", "spoke-17.example.net", asked, "--config", spoke, "--interface",
			"gre1",
		); !strings.Contains(out, why) {
			t.Errorf("a spoke, %s: %s%s, want %q", asked, out, errs, why)
		}
	}
	if code, _, errs := cygnet(
		"policy", "test", "x", "10.254.0.9", "--config", file, "--interface", "gre9",
	); code != exitError || !strings.Contains(errs, "has no interface gre9") {
		t.Errorf("an unknown interface: %d %s", code, errs)
	}
}
