package account

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Each reason that the API has is put into words.
func TestEveryReasonHasWords(t *testing.T) {
	for _, reason := range api.VerdictReasons {
		x := &api.Explanation{Now: now, Daemon: true,
			Verdict: api.ExplainedVerdict{Path: api.PathHub, Reason: reason}}
		if reasonText(x) == string(reason) {
			t.Errorf("%q has no words", reason)
		}
	}
	// A later daemon's reason is shown as it is.
	x := &api.Explanation{Verdict: api.ExplainedVerdict{Path: api.PathHub, Reason: "tired"}}
	if got, want := Of(x).Verdict.Text, "BY THE HUB ?: tired"; got != want {
		t.Errorf("an unknown reason reads %q, want %q", got, want)
	}
}

// The account names the pair, and its steps are in the order in which a packet meets them.
func TestOf(t *testing.T) {
	way, from := netip.MustParseAddr("10.255.0.12"), netip.MustParseAddr("10.255.0.11")
	a := Of(&api.Explanation{
		Destination: netip.MustParseAddr("172.16.2.10"), Source: netip.MustParseAddr("172.16.1.10"),
		Now: now, Daemon: true,
		Verdict: api.ExplainedVerdict{Path: api.PathHub, Reason: api.ReasonIndicated},
		Steps: []api.ExplainStep{
			{Kind: api.StepRoute, Route: &api.ExplainedRoute{Error: "no route"}},
			{Kind: api.StepTunnel, Tunnel: &api.ExplainedTunnel{Interface: "gre1"}},
			{Kind: api.StepNextHop, Of: api.RoleSource,
				NextHop: &api.ExplainedNextHop{Protocol: from}},
			{Kind: api.StepNextHop, Of: api.RoleWay, NextHop: &api.ExplainedNextHop{Protocol: way}},
			{Kind: api.StepNextHop, Of: "odd", NextHop: &api.ExplainedNextHop{Protocol: way}},
			{Kind: api.StepBinding, Binding: &api.Binding{
				Protocol: way, NBMA: from, Static: true}},
			{Kind: api.StepShortcut, Shortcut: &api.Shortcut{
				Prefix: netip.MustParsePrefix("172.16.2.0/24"), State: api.ShortcutResolving}},
			{Kind: api.StepQuestion, Question: &api.ExplainedQuestion{}},
			{Kind: api.StepSA, SA: &api.ExplainedSA{NBMA: way}},
			{Kind: api.StepAdmission, Admission: &api.ExplainedAdmission{}},
			{Kind: api.StepPolicy, Policy: &api.ExplainedPolicy{
				Identities: []api.ExplainedRule{{Identity: "a"}}}},
			{Kind: "weather"},
		},
	})
	if want := "172.16.2.10 from 172.16.1.10"; a.Pair != want {
		t.Errorf("the pair is %q, want %q", a.Pair, want)
	}
	if want := "THROUGH THIS ROUTER, to 10.255.0.12: 10.255.0.11 was told of the shorter way and " +
		"has not asked here"; a.Verdict.Text != want {
		t.Errorf("the verdict is %q, want %q", a.Verdict.Text, want)
	}
	if !strings.HasPrefix(a.Verdict.Next, `"cygnet explain 172.16.2.10" there`) {
		t.Errorf("what can be done is %q", a.Verdict.Next)
	}
	var titles []string
	for _, s := range a.Steps {
		titles = append(titles, s.Title)
		if len(s.Lines) == 0 || slices.Contains(s.Lines, "") {
			t.Errorf("the lines of %q are %q", s.Title, s.Lines)
		}
		if text := strings.Join(s.Lines, " "); strings.Contains(text, "invalid") {
			t.Errorf("%q shows what is missing as %q", s.Title, text)
		}
	}
	want := []string{"route", "tunnel", "from", "next hop", "router", "binding", "shortcut",
		"question", "SA", "admission", "policy", "weather"}
	if !slices.Equal(titles, want) {
		t.Errorf("the steps are %q, want %q", titles, want)
	}
}

// An account without steps has an empty list of them in JSON, and no advice where there is none.
func TestEmptyAccount(t *testing.T) {
	a := Of(&api.Explanation{Destination: netip.MustParseAddr("::1"), Daemon: true,
		Verdict: api.ExplainedVerdict{Path: api.PathElsewhere}})
	got, err := json.Marshal(a)
	want := `{"pair":"::1","verdict":{"path":"elsewhere","text":"NOT THROUGH A TUNNEL of ` +
		`cygnetd's: the kernel's route leads elsewhere"},"steps":[]}`
	if err != nil || string(got) != want {
		t.Errorf("it is %s, %v, want %s", got, err, want)
	}
	if got := Question(&api.Explanation{}); !slices.Equal(got, []string{"none"}) {
		t.Errorf("without a question its lines are %q", got)
	}
}

// Each way in which the kernel gets a shortcut's route is put into words.
func TestPlacementHasWords(t *testing.T) {
	for installed, want := range map[string][]string{
		"":      nil,
		"whole": {"the kernel has one route for the prefix"},
		"halves": {"the kernel has a route for each half of the prefix, " +
			"because others have a route to the very prefix"},
		"host table": {"the kernel has the route in the host table, " +
			"because others have a route to the very prefix"},
	} {
		if got := placementLines(installed); !slices.Equal(got, want) {
			t.Errorf("%q reads %q, want %q", installed, got, want)
		}
	}
}

// Where the kernel has a router is put into words, with the mark of a router that shares its
// address, and also where the kernel's entry leads nowhere.
func TestNeighborHasWords(t *testing.T) {
	nat := netip.MustParseAddr("192.0.2.11")
	for want, h := range map[string]api.ExplainedNextHop{
		"the kernel has no neighbour for it": {},
		"the kernel has it at 192.0.2.11, put there by cygnetd": {
			Neighbor: nat, Ours: true},
		"the kernel has it at 192.0.2.11, mark 7, put there by cygnetd": {
			Neighbor: nat, NeighborMark: 7, Ours: true},
		"the kernel has it at 192.0.2.11, NOT put there by cygnetd": {Neighbor: nat},
		"the kernel has it by the SA with mark 7, put there by cygnetd": {
			NeighborMark: 7, Ours: true},
		"the kernel's entry for it, put there by cygnetd, leads nowhere, since its router has no " +
			"SA or no device: packets for it are DROPPED": {
			NeighborMark: 7, NeighborDrops: true, Ours: true},
	} {
		if got := neighborLine(&h); got != want {
			t.Errorf("%+v reads %q, want %q", h, got, want)
		}
	}
}

// What charon and the kernel do not have is named by address and mark.
func TestMissingSAHasWords(t *testing.T) {
	nat := netip.MustParseAddr("192.0.2.11")
	for with, s := range map[string]api.ExplainedSA{
		"192.0.2.11":         {NBMA: nat},
		"192.0.2.11, mark 7": {NBMA: nat, Mark: 7},
		"mark 7":             {Mark: 7},
	} {
		want := []string{"charon has no SA with " + with,
			"the kernel has no ESP state with " + with}
		if got := saLines(&s, now); !slices.Equal(got, want) {
			t.Errorf("%+v reads %q, want %q", s, got, want)
		}
	}
}
