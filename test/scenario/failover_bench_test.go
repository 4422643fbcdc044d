//go:build lab

package scenario

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/test/lab"
)

// every is how far apart the packets of these benchmarks are, and so how exact their times.
const every = time.Millisecond

// BenchmarkGoingDirect measures, with packets each millisecond, the time from the first packet to
// the end of the change to the direct path, and the packets that are lost with that: with the path
// proven before use, and without. The two sides take turns.
func BenchmarkGoingDirect(b *testing.B) {
	sides := measured{}
	for b.Loop() {
		for _, prove := range []string{"on", "off"} {
			m := registeredMesh(b, prove)
			begun := time.Now()
			flow := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, every)
			directBothWays(m, later)
			took := time.Since(begun)
			flow.Back(time.Now(), soon)
			_, lost, _ := flow.Loss(begun)
			sides.add(prove, took, lost)
			flow.Stop()
		}
	}
	sides.report(b, "on", "proven")
	sides.report(b, "off", "at-once")
	b.ReportMetric(sides.median("on")/sides.median("off"), "ratio")
}

// BenchmarkBackOnTheHub measures how long packets are lost when everything from one spoke to the
// other, IKE too, is dropped while the direct path is in use: with the path watched, and with dead
// peer detection alone, by the default settings of each. The two sides take turns.
func BenchmarkBackOnTheHub(b *testing.B) {
	sides := measured{}
	for b.Loop() {
		for _, prove := range []string{"on", "off"} {
			m := registeredMesh(b, prove)
			flow := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, every)
			directBothWays(m, later)
			flow.Back(time.Now(), soon)
			m.Spoke2.Iptables("-A", "INPUT", "-s", m.Spoke1.Public.String(), "-j", "DROP")
			cut := time.Now()
			away := flow.Back(cut, later).Sub(cut)
			_, lost, _ := flow.Loss(cut)
			sides.add(prove, away, lost)
			flow.Stop()
		}
	}
	sides.report(b, "on", "watched")
	sides.report(b, "off", "dead-peer-detection")
	b.ReportMetric(sides.median("off")/sides.median("on"), "ratio")
}

// registeredMesh returns a mesh whose spokes are registered, and prove their direct paths as the
// setting prove_paths says.
func registeredMesh(b *testing.B, prove string) *lab.Mesh {
	b.Helper()
	m := lab.NewMesh(b)
	m.Add(`prove_paths = "` + prove + `"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	return m
}

// BenchmarkHubFailover measures how long packets to a service behind two hubs are lost when the hub
// in use goes, by what tells the spoke: BFD of the routing protocol with the timers of the
// examples, data that gets nothing back with a hub in reserve, with IPsec and without, and a drain,
// of which the spoke hears with its next registration. Dead peer detection is not among them: data
// that gets nothing back tells earlier.
func BenchmarkHubFailover(b *testing.B) {
	b.Run("BFD", func(b *testing.B) {
		failover(b, func() (*lab.Site, netip.Addr, func()) {
			m := newTwoHubs(b, "300")
			return m.Spoke1, service, m.Hub.Die
		})
	})
	for _, cause := range []struct {
		name   string
		change func(m *reserveMesh)
		end    func(m *reserveMesh)
	}{
		{"silence", (*reserveMesh).defaultDPD, func(m *reserveMesh) { m.Hub.Die() }},
		{"silence-without-IPsec", (*reserveMesh).unprotect, func(m *reserveMesh) { m.Hub.Die() }},
		{"drain", (*reserveMesh).defaultDPD, func(m *reserveMesh) {
			m.Hub.Cygnet("drain", "--for", "2m")
		}},
	} {
		b.Run(cause.name, func(b *testing.B) {
			failover(b, func() (*lab.Site, netip.Addr, func()) {
				m := newReserveMesh(b)
				m.Spoke1.Interface = append(m.Spoke1.Interface, `holding_time = "30s"`)
				cause.change(m)
				m.startWithBGP()
				return m.Spoke1, m.Hub.Host.Addr, func() { cause.end(m) }
			})
		})
	}
}

// defaultDPD leaves dead peer detection at its default.
func (m *reserveMesh) defaultDPD() {
	m.Spoke1.IPsec = slices.DeleteFunc(m.Spoke1.IPsec, func(line string) bool {
		return contains(line, "dpd_delay")
	})
}

// unprotect takes IPsec away, so that only registrations tell that a hub is gone.
func (m *reserveMesh) unprotect() {
	for _, s := range append(m.Sites(), m.hub2) {
		s.IPsec = nil
		s.Interface = append(s.Interface, `protection = "none"`)
	}
}

// failover measures one cause: it starts a network, has the hub in use end, and looks for how long
// packets from the spoke's host were lost.
func failover(b *testing.B, start func() (spoke *lab.Site, to netip.Addr, end func())) {
	sides := measured{}
	for b.Loop() {
		spoke, to, end := start()
		flow := spoke.Host.Flow(to, every)
		flow.Back(time.Now(), soon)
		ended := time.Now()
		end()
		flow.Back(time.Now(), later)
		_, lost, longest := flow.Loss(ended)
		sides.add("", longest, lost)
		flow.Stop()
	}
	sides.report(b, "", "away")
}

// measured has the times and losses of the sides of a benchmark.
type measured struct {
	times map[string][]time.Duration
	lost  map[string]int
}

// add records a time of a side, and the packets that it lost.
func (m *measured) add(side string, d time.Duration, lost int) {
	if m.times == nil {
		m.times, m.lost = map[string][]time.Duration{}, map[string]int{}
	}
	m.times[side] = append(m.times[side], d)
	m.lost[side] += lost
}

// median returns the median of a side's times in milliseconds.
func (m *measured) median(side string) float64 {
	slices.Sort(m.times[side])
	return float64(m.times[side][len(m.times[side])/2].Microseconds()) / 1000
}

// report reports the median time of a side, and how many packets it lost each time.
func (m *measured) report(b *testing.B, side, name string) {
	b.ReportMetric(m.median(side), name+"-ms")
	b.ReportMetric(float64(m.lost[side])/float64(len(m.times[side])), name+"-lost")
	b.ReportMetric(0, "ns/op")
}
