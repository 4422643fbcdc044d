package nhrpd

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/mismatch"
	"cygnet/vici"
)

// problemIn returns the problem in the status that has the code and the subject.
func problemIn(t *testing.T, d *Daemon, code api.ProblemCode, subject string) (api.Problem, bool) {
	t.Helper()
	st, err := d.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(st.Problems, func(p api.Problem) bool {
		return p.Code == code && p.Subject == subject
	})
	if i < 0 {
		return api.Problem{}, false
	}
	return st.Problems[i], true
}

// A router without an SA that keeps sending GRE in clear is a problem, until it has an SA or has
// sent nothing for a while.
func TestClearGREIsReported(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.tunnels["gre1"].states <- tunnelThere
		time.Sleep(mismatch.Interval + time.Millisecond)
		synctest.Wait()
		from := netip.MustParseAddr("192.0.2.77")
		w.strays <- from
		time.Sleep(2 * mismatch.Interval)
		if p, is := problemIn(t, d, api.ProblemClearGRE, "192.0.2.77"); is {
			t.Errorf("after one packet: %+v", p)
		}
		w.strays <- from
		time.Sleep(2 * mismatch.Interval)
		if p, is := problemIn(t, d, api.ProblemClearGRE, "192.0.2.77"); !is ||
			p.Severity != api.SeverityWarning || p.Interface != "gre1" {
			t.Errorf("after two packets: %+v", p)
		}
		w.events <- vici.Up{Peer: vici.Peer{Interface: "gre1", NBMA: from, Identity: "spoke7"}}
		time.Sleep(2 * mismatch.Interval)
		if p, is := problemIn(t, d, api.ProblemClearGRE, "192.0.2.77"); is {
			t.Errorf("with an SA: %+v", p)
		}
	})
}

// A tunnel without IPsec reports a router that tries IKE, unless a program on this host receives
// IKE.
func TestUnexpectedIKEIsReported(t *testing.T) {
	toml := strings.Replace(
		spokeToml[:strings.Index(spokeToml, "[interface.gre1.ipsec]")],
		"[interface.gre1]",
		"[interface.gre1]\nprotection = \"none\"",
		1)
	inWorldOf(t, []byte(toml), func(t *testing.T, w *world, d *Daemon) {
		w.hasIKE.Store(true)
		w.tunnels["gre1"].states <- tunnelThere
		time.Sleep(2 * mismatch.Interval)
		synctest.Wait()
		if at := w.noted("overhear"); at >= 0 {
			t.Errorf("with IKE of this host's own: %q", w.record[at])
		}
		w.hasIKE.Store(false)
		time.Sleep(mismatch.Interval)
		synctest.Wait()
		for range 2 {
			w.strays <- netip.MustParseAddr("192.0.2.77")
			time.Sleep(2 * mismatch.Interval)
		}
		if p, is := problemIn(t, d, api.ProblemUnexpectedIKE, "192.0.2.77"); !is ||
			!strings.Contains(p.Text, `protection = "none"`) {
			t.Errorf("reported %+v", p)
		}
		time.Sleep(mismatch.FailureLasts + mismatch.Interval)
		if p, is := problemIn(t, d, api.ProblemUnexpectedIKE, "192.0.2.77"); is {
			t.Errorf("long after the last packet: %+v", p)
		}
	})
}

// A router that cannot make an SA with this one is a problem, until it has an SA or no longer tries
// to make one.
func TestFailedDialIsReported(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.tunnels["gre1"].states <- tunnelThere
		synctest.Wait()
		key := vici.Key{Interface: "gre1", NBMA: netip.MustParseAddr("192.0.2.77")}
		refused := vici.Refused{Key: key, Identity: "spoke7", Reason: "compare the PSK"}
		w.events <- refused
		time.Sleep(2 * mismatch.Interval)
		p, is := problemIn(t, d, api.ProblemPeerAuthentication, "192.0.2.77")
		if !is || !strings.Contains(p.Text, "192.0.2.77 cannot make an SA with this router: compare the PSK") {
			t.Errorf("reported %+v", p)
		}
		w.events <- vici.Up{Peer: vici.Peer{Interface: "gre1", NBMA: key.NBMA, Identity: "spoke7"}}
		time.Sleep(2 * mismatch.Interval)
		if p, is := problemIn(t, d, api.ProblemPeerAuthentication, "192.0.2.77"); is {
			t.Errorf("with an SA: %+v", p)
		}
		w.events <- vici.Down{Key: key}
		w.events <- refused
		time.Sleep(mismatch.FailureLasts + 2*mismatch.Interval)
		if p, is := problemIn(t, d, api.ProblemPeerAuthentication, "192.0.2.77"); is {
			t.Errorf("long after the last try: %+v", p)
		}
	})
}

// The status of an NHS that does not answer says why, as the counters of the SA tell.
func TestSilentNHSSaysWhatTheCountersTell(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		out := xfrm.ESPState{Src: tunnelThere.Local, Dst: hubNBMA, SPI: 1, ReqID: 1, GRE: true}
		in := xfrm.ESPState{Src: hubNBMA, Dst: tunnelThere.Local, SPI: 2, ReqID: 1, GRE: true}
		for range 10 {
			w.mu.Lock()
			out.Packets += 2
			w.states = []xfrm.ESPState{out, in}
			w.mu.Unlock()
			time.Sleep(mismatch.Interval)
		}
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const why = "none came back: compare key with its (here: key = 42)"
		if got := st.Interfaces[0].NHS[0].Error; !strings.Contains(got, why) {
			t.Errorf("the NHS's error is %q", got)
		}
		if !slices.ContainsFunc(st.Problems, func(p api.Problem) bool {
			return p.Code == api.ProblemNHSUnanswered && strings.Contains(p.Text, why)
		}) {
			t.Errorf("want a problem nhs-unanswered with %q, have %+v", why, st.Problems)
		}
	})
}
