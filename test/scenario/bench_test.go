//go:build lab

package scenario

import (
	"testing"
	"time"

	"cygnet/test/lab"
)

// BenchmarkShortcut measures the time from the first packet that the hub forwards to the first
// packet that arrives directly. The IKE handshake is part of that time.
func BenchmarkShortcut(b *testing.B) {
	m := lab.NewMesh(b)
	m.Add(`idle_time = "2s"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	one, two := m.Spoke1.Host, m.Spoke2.Host
	atHub, atSpoke2 := m.Hub.Capture("gre1"), m.Spoke2.Capture("gre1")
	var total time.Duration
	for b.Loop() {
		b.StopTimer()
		m.Await("no shortcut is there", later, func() error {
			if err := down(m, m.Spoke1, m.Spoke2); err != nil {
				return err
			}
			return down(m, m.Spoke2, m.Spoke1)
		})
		start := time.Now()
		train := one.Train(two.Addr, 10*time.Millisecond)
		b.StartTimer()
		var direct []lab.Packet
		m.Await("a packet comes directly", soon, func() error {
			direct = atSpoke2.Packets(passing(one.Addr, two.Addr), by(m.Spoke1), lab.Since(start))
			return lab.True(len(direct) > 0, "no packet came directly")
		})
		b.StopTimer()
		train.Stop()
		forwarded := atHub.Packets(passing(one.Addr, two.Addr), by(m.Spoke1), lab.Since(start))
		if len(forwarded) == 0 {
			b.Fatal("the hub forwarded nothing")
		}
		total += direct[0].At.Sub(forwarded[0].At)
		b.StartTimer()
	}
	b.ReportMetric(float64(total.Milliseconds())/float64(b.N), "ms/shortcut")
	b.ReportMetric(0, "ns/op")
	encrypted(m)
}
