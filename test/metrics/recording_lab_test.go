//go:build lab

package metrics

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

var update = flag.Bool("update", false, "write the recording anew")

const (
	soon  = 30 * time.Second
	later = 120 * time.Second // for back-off, or what is looked at now and then

	place = "127.0.0.1:9116"
)

// write writes scrapes to a file.
func write(path string, scrapes []scrape) error {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for _, s := range scrapes {
		fmt.Fprintf(w, "=== %s %d\n%s", s.instance, s.at.UnixMilli(), s.text)
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// value returns the value of a series in a text, and false if there is none.
func value(t *testing.T, text, series string) (float64, bool) {
	t.Helper()
	all, _ := samples(t, text)
	for _, x := range all {
		if x.series == series {
			return x.value, true
		}
	}
	return 0, false
}

// recorder scrapes routers.
type recorder struct {
	*lab.Mesh
	t       *testing.T
	scrapes []scrape
}

// scrape records the metrics of the sites.
func (r *recorder) scrape(sites ...*lab.Site) {
	r.Helper()
	for _, s := range sites {
		at := time.Now()
		text, err := s.Metrics(place)
		if err != nil {
			r.Fatalf("%s serves no metrics: %v", s.Name, err)
		}
		r.scrapes = append(r.scrapes, scrape{s.Name + ":9116", at, text})
	}
}

// await waits until a series of a site has a value for which holds returns true.
func (r *recorder) await(
	s *lab.Site, within time.Duration, series string, holds func(float64) bool,
) (reached float64) {
	r.Helper()
	r.Await(s.Name+": "+series, within, func() error {
		text, err := s.Metrics(place)
		x, there := value(r.t, text, series)
		reached = x
		return errors.Join(err, lab.True(there && holds(x), "it is %g (there: %t)", x, there))
	})
	return reached
}

func above(least float64) func(float64) bool { return func(x float64) bool { return x > least } }

func is(wanted float64) func(float64) bool { return func(x float64) bool { return x == wanted } }

// The metrics of a hub and its spokes tell what happens: registrations accepted and refused, a
// shortcut, traffic over a rekeying and over the end of charon, an SA that fails. No counter
// becomes smaller, and promtool finds nothing to object to in what the daemons really serve.
func TestMetricsOfAMesh(t *testing.T) {
	m := lab.NewMesh(t, lab.ThirdSpoke())
	r := &recorder{Mesh: m, t: t}
	for _, s := range m.Sites() {
		s.DaemonLines = append(s.DaemonLines, `metrics = "`+place+`"`, "metrics_peers = 10")
	}
	m.Spoke3.PSK = "not the key of this mesh"
	hub, one, two, three := m.Hub, m.Spoke1, m.Spoke2, m.Spoke3
	for _, s := range []*lab.Site{hub, one, two} {
		s.Start()
	}
	all := []*lab.Site{hub, one, two}
	const registered = `cygnet_registrations_total{role="client",result="success"}`
	r.await(one, soon, registered, above(0))
	r.await(two, soon, registered, above(0))
	r.scrape(all...)

	r.direct(one, two)
	r.scrape(all...)

	const received = `cygnet_interface_received_bytes_total{interface="gre1"}`
	const packets = `cygnet_interface_received_packets_total{interface="gre1"}`
	one.Host.Ping(hub.Host.Addr, 50)
	before := r.await(one, soon, received, above(50*84))
	r.await(one, soon, packets, above(50))
	r.rekey(one, hub)
	one.Host.Ping(hub.Host.Addr, 50)
	before = r.await(one, soon, received, above(before+50*84))
	r.scrape(all...)

	const atHub = `cygnet_nhs_registered{interface="gre1",nhs="192.0.2.1",address="192.0.2.1"}`
	const started = "cygnet_strongswan_start_time_seconds"
	at := r.await(one, soon, started, above(0))
	if now := float64(time.Now().Unix()); at > now+2 || at < now-600 {
		t.Errorf("charon started %g s ago, it says", now-at)
	}
	one.Charon.Kill()
	r.await(one, soon, "cygnet_strongswan_connected", is(0))
	r.scrape(one)
	one.Charon.Start()
	r.await(one, soon, started, above(at))
	r.await(one, later, atHub, is(1))
	// The registration outlives the SA, so it does not tell when the new SA carries packets.
	flow := one.Host.Flow(hub.Host.Addr, 50*time.Millisecond)
	r.await(one, later, received, above(before+50*84))
	flow.Stop()
	r.scrape(all...)

	three.Start()
	r.await(three, later, `cygnet_ike_failures_total{role="initiator",cause="authentication"}`,
		above(0))
	r.await(hub, later, `cygnet_ike_failures_total{role="responder",cause="authentication"}`,
		above(0))
	hub.Cygnet("drain")
	if out, err := two.TryCygnet("register", "now"); err == nil {
		t.Errorf("a hub that drains registered spoke2:\n%s", out)
	}
	r.await(two, soon, `cygnet_registrations_total{role="client",result="insufficient resources"}`,
		above(0))
	r.await(hub, soon, `cygnet_registrations_total{role="server",result="insufficient resources"}`,
		above(0))
	r.scrape(append(all, three)...)
	hub.Cygnet("drain", "--off")
	one.Host.Ping(hub.Host.Addr, 20)
	r.await(two, later, atHub, is(1))
	r.scrape(append(all, three)...)
	r.check(one)
	if *update {
		if err := write(recording, r.scrapes); err != nil {
			t.Fatal(err)
		}
	}
}

// rekey has the charon of a site rekey its CHILD_SAs, and awaits that neither the site nor a peer
// sends to the other through the old one. What the old one counts after the daemon last looked at
// it would be missing in the sums.
func (r *recorder) rekey(s, peer *lab.Site) {
	r.Helper()
	old := map[uint32]bool{}
	for _, sa := range s.Charon.With(peer.Public) {
		for _, spi := range sa.SPIs {
			old[spi] = true
		}
	}
	s.Run("swanctl", "--rekey", "--child", "gre")
	r.Await("the SA between "+s.Name+" and "+peer.Name+" is rekeyed", soon, func() error {
		for _, from := range []*lab.Site{s, peer} {
			for _, state := range from.XfrmStates() {
				if state.Src == from.Public && old[state.SPI] {
					return fmt.Errorf("%s sends by %+v", from.Name, state)
				}
			}
		}
		return nil
	})
}

// direct keeps traffic going between two spokes until it takes the direct path.
func (r *recorder) direct(s, peer *lab.Site) {
	r.Helper()
	train := s.Host.Train(peer.Host.Addr, 50*time.Millisecond)
	r.Await("a direct path", soon, func() error {
		return errors.Join(leads(s, peer), leads(peer, s))
	})
	train.Stop()
}

// leads returns an error unless packets to the hosts of a peer go straight to it.
func leads(s, peer *lab.Site) error {
	hop := s.NextHop(peer.Host.Addr)
	return lab.True(hop == peer.Overlay, "%s sends through %s", s.Name, hop)
}

// check checks what was recorded as a whole, and what the last scrape of a spoke tells.
func (r *recorder) check(s *lab.Site) {
	r.Helper()
	list, compared := falls(r.t, r.scrapes)
	if len(list) > 0 || compared < 500 {
		r.Errorf("of %d comparisons, these counters became smaller:\n%s", compared,
			strings.Join(list, "\n"))
	}
	last := map[string]string{}
	for _, x := range r.scrapes {
		lint := exec.Command("promtool", "check", "metrics")
		lint.Stdin = strings.NewReader(x.text)
		if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
			r.Errorf("promtool on %s: %v\n%s", x.instance, err, out)
		}
		last[x.instance] = x.text
	}
	text := last[s.Name+":9116"]
	at := func(peer netip.Addr, identity string) string {
		return `{interface="gre1",peer="` + peer.String() + `",identity="` + identity + `"}`
	}
	atHub := at(r.Hub.Public, "hub.example.net")
	const nhs = `{interface="gre1",nhs="192.0.2.1",address="192.0.2.1"}`
	for _, series := range []string{
		"cygnet_nhs_round_trip_seconds" + nhs,
		"cygnet_peer_round_trip_seconds" + atHub,
		"cygnet_peer_received_bytes_total" + atHub,
		"cygnet_peer_sent_packets_total" + atHub,
		"cygnet_sa_setup_seconds_count",
		"cygnet_shortcut_setup_seconds_count",
		"cygnet_shortcut_up_seconds_count",
		"cygnet_turn_seconds_count",
		`cygnet_reconcile_seconds_count{with="kernel"}`,
		`cygnet_reconcile_seconds_count{with="strongswan"}`,
		"cygnet_state_saved_seconds_count",
		`cygnet_limit{interface="gre1",limit="bindings"}`,
		`cygnet_limit_used{interface="gre1",limit="sas"}`,
		`cygnet_packets_sent_total{type="registration request"}`,
		`cygnet_packets_received_total{type="registration reply"}`,
		"cygnet_strongswan_since_time_seconds",
		`cygnet_interface_sent_packets_total{interface="gre1"}`,
	} {
		x, there := value(r.t, text, series)
		if !there || x <= 0 || x > 10 && strings.Contains(series, "round_trip") {
			r.Errorf("%s: have %g (there: %t)", series, x, there)
		}
	}
}
