package mismatch

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
)

// This router, the other router, and the time of the first look.
var (
	hereNBMA  = netip.MustParseAddr("192.0.2.1")
	thereNBMA = netip.MustParseAddr("192.0.2.11")
	begin     = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// passed returns the ESP states between this router and the other one after that many packets have
// passed to the other router (out) and from it (in).
func passed(out, in uint64) []xfrm.ESPState {
	return []xfrm.ESPState{
		{Src: hereNBMA, Dst: thereNBMA, SPI: 1, GRE: true, Packets: out},
		{Src: thereNBMA, Dst: hereNBMA, SPI: 2, GRE: true, Packets: in},
		{Src: thereNBMA, Dst: hereNBMA, SPI: 3, Packets: 1000}, // of a site-to-site tunnel
		{Src: netip.MustParseAddr("192.0.2.12"), Dst: hereNBMA, SPI: 4, GRE: true, Packets: 1000},
	}
}

// Each way in which packets between two routers get lost shows differently in the counters.
func TestWhySilent(t *testing.T) {
	key := uint32(42)
	tunnel := &Tunnel{Name: "gre1", Key: &key, Protected: true}
	for _, c := range []struct {
		rule    string
		out, in uint64
		after   engine.Mismatch
		want    string
	}{
		{"nothing was sent meanwhile", 0, 0, engine.Mismatch{}, ""},
		{"what was sent does not get into the SA", 0, 0, engine.Mismatch{Sent: 3},
			"firewall that drops GRE (protocol 47) here, on its way out"},
		{"nothing comes back", 3, 0, engine.Mismatch{Sent: 3},
			"3 packets went to it through the SA and none came back: compare key with its (here: key = 42)"},
		{"answers come through the SA only", 3, 1, engine.Mismatch{Sent: 3},
			"its answers come through the SA (1 packet) and not out of the tunnel"},
		{"answers come, and the engine knows better", 3, 3,
			engine.Mismatch{Sent: 3, Received: 3}, ""},
		{"data comes", 3, 3, engine.Mismatch{Sent: 3, Heard: begin}, ""},
	} {
		first := engine.Mismatch{Outer: thereNBMA}
		e := newEvidence(&first, passed(5, 5), begin)
		e.update(&first, passed(5, 5), begin)
		c.after.Outer = thereNBMA
		e.update(&c.after, passed(5+c.out, 5+c.in), begin)
		if got := whySilent(tunnel, e); !strings.Contains(got, c.want) ||
			(c.want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", c.rule, got, c.want)
		}
	}
	if got := whySilent(&Tunnel{}, nil); !strings.Contains(got, `protection = "none"`) {
		t.Errorf("without IPsec: %q", got)
	}
}

// A rekeying brings states that count from zero. What passed through the old states still counts.
func TestEvidenceOverRekeying(t *testing.T) {
	f := engine.Mismatch{Outer: thereNBMA, Received: 1}
	e := newEvidence(&f, passed(5, 5), begin)
	e.update(&f, passed(7, 5), begin)
	renewed := passed(1, 0)
	renewed[0].SPI, renewed[1].SPI = 11, 12
	e.update(&f, renewed, begin)
	e.update(&f, renewed, begin)
	if e.out != 3 || e.in != 0 {
		t.Errorf("%d packets out and %d in, want 3 and 0", e.out, e.in)
	}
}

// A router that dialled in and is not heard becomes a problem. The time counts from the start of
// its SA if nothing of the router was ever heard, and otherwise from the first look.
func TestUnheardRouter(t *testing.T) {
	key := uint32(42)
	tunnel := &Tunnel{Name: "gre1", Key: &key, Protected: true}
	unheard := engine.Mismatch{
		Kind:      engine.MismatchUnheard,
		Interface: "gre1",
		Outer:     thereNBMA,
		Identity:  "spoke1",
		Since:     begin,
	}
	look := func(
		f engine.Mismatch, states []xfrm.ESPState, after time.Duration,
	) (api.Problem, bool) {
		e := newEvidence(&f, states, begin.Add(5*time.Second))
		e.update(&f, states, begin.Add(5*time.Second))
		return problemOf(&f, tunnel, e, begin.Add(after))
	}
	p, ok := look(unheard, passed(0, 4), 5*time.Second)
	if !ok || p.Code != api.ProblemGRENotReceived ||
		!strings.Contains(p.Text, "4 packets came from peer 192.0.2.11 (spoke1)") ||
		!strings.Contains(p.Text, "key = 42") {
		t.Errorf("with packets through the SA: %v %+v", ok, p)
	}
	if p, ok = look(unheard, passed(0, 0), 14*time.Second); ok {
		t.Errorf("a moment after the SA came: %+v", p)
	}
	p, ok = look(unheard, passed(0, 0), 20*time.Second)
	if !ok || p.Code != api.ProblemPeerSilent ||
		!strings.Contains(p.Text, "nothing has come through the SA with peer 192.0.2.11 (spoke1) for 20s") {
		t.Errorf("without packets: %v %+v", ok, p)
	}
	heard := unheard
	heard.Received = 7
	if p, ok = look(heard, passed(9, 9), 19*time.Second); ok {
		t.Errorf("its registration ended a moment ago: %+v", p)
	}
	if _, ok = problemOf(&unheard, tunnel, nil, begin.Add(time.Hour)); ok {
		t.Error("without counters")
	}
}

// When the cause changes, the explanation changes: what passed long ago does not count.
func TestEvidenceFollowsTheCause(t *testing.T) {
	tunnel := &Tunnel{Protected: true}
	f := engine.Mismatch{Kind: engine.MismatchSilent, Outer: thereNBMA}
	e := newEvidence(&f, passed(0, 0), begin)
	var out uint64
	say := func(requests int, leave bool) string {
		for range requests {
			f.Sent++
			if leave {
				out++
			}
			e.update(&f, passed(out, 0), begin)
		}
		return whySilent(tunnel, e)
	}
	if got := say(9, true); !strings.Contains(got, "none came back") {
		t.Errorf("while requests go out through the SA: %q", got)
	}
	if got := say(2*passageAsks, false); !strings.Contains(got, "does not get into the SA") {
		t.Errorf("once they do not: %q", got)
	}
	if got := say(1, true); !strings.Contains(got, "none came back") {
		t.Errorf("once they do again: %q", got)
	}
}
