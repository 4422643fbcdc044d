//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/test/lab"
)

// BenchmarkThroughput compares a tunnel that the daemon keeps with the same tunnel by hand: the
// same GRE device, MTU and algorithms, neighbours by ip and the SA by swanctl. Each turn sends by
// TCP for a second over both, one after the other, and the side that begins changes. It prints the
// median and the quartiles of both sides in Mbit/s, and the ratio of the medians. The daemon's
// programs see each packet; a difference beyond the spread would be theirs.
func BenchmarkThroughput(b *testing.B) {
	m := lab.NewMesh(b, lab.ThirdSpoke())
	m.Hub.Start()
	m.Spoke1.Start()
	registered(m, m.Spoke1, soon)
	byHand(m, m.Spoke2, m.Spoke3)
	byHand(m, m.Spoke3, m.Spoke2)
	m.Spoke2.Run("swanctl", "--initiate", "--child", "gre", "--timeout", "20")
	m.Await("the tunnel by hand works", soon, func() error {
		return m.Spoke2.Reaches(m.Spoke3.Overlay)
	})
	daemon := side{m.Spoke1.Router.Node, m.Hub.Router.Node, m.Hub.Overlay, nil}
	hand := side{m.Spoke2.Router.Node, m.Spoke3.Router.Node, m.Spoke3.Overlay, nil}
	for b.Loop() {
		for range 10 { // pairs of turns
			for _, s := range []*side{&daemon, &hand, &hand, &daemon} {
				s.send()
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for name, s := range map[string]*side{"daemon": &daemon, "hand": &hand} {
		slices.Sort(s.rates)
		n := len(s.rates)
		b.ReportMetric(s.rates[n/2], name+"-Mbit/s")
		b.ReportMetric(s.rates[n/4], name+"-q1")
		b.ReportMetric(s.rates[3*n/4], name+"-q3")
	}
	b.ReportMetric(daemon.median()/hand.median(), "daemon/hand")
}

// side is one side of the comparison, with the rates in Mbit/s that it had.
type side struct {
	from, to *lab.Node
	address  netip.Addr
	rates    []float64
}

// send sends for a second and notes the rate.
func (s *side) send() {
	begin := time.Now()
	bulk := s.from.Bulk(s.to, s.address, 0)
	time.Sleep(time.Second)
	n := bulk.Stop()
	s.rates = append(s.rates, float64(n)*8/1e6/time.Since(begin).Seconds())
}

func (s *side) median() float64 { return s.rates[len(s.rates)/2] }

// byHand makes the tunnel of a site to one peer without the daemon.
func byHand(m *lab.Mesh, s, peer *lab.Site) {
	s.Router.Charon()
	s.WriteFile("/etc/swanctl/conf.d/hand.conf", 0o600, fmt.Sprintf(`connections {
	hand {
		version = 2
		mobike = no
		local_addrs = %[1]s
		remote_addrs = %[2]s
		proposals = aes256gcm16-prfsha384-x25519
		local { auth = psk
			id = %[1]s
		}
		remote { auth = psk
			id = %[2]s
		}
		children {
			gre {
				mode = transport
				local_ts = dynamic[gre]
				remote_ts = dynamic[gre]
				esp_proposals = aes256gcm16-x25519
			}
		}
	}
}
secrets {
	ike-hand {
		secret = "a key for a tunnel by hand"
	}
}
`, s.Public, peer.Public))
	s.Run("swanctl", "--load-all", "--file", "/etc/swanctl/conf.d/hand.conf")
	s.IP(
		"link add gre1 type gre local "+s.Public.String()+" key 42 ttl 64 nopmtudisc ignore-df",
		"link set gre1 mtu 1400 arp on up",
		"addr add "+s.Overlay.String()+"/24 dev gre1",
		"neigh add "+peer.Overlay.String()+" lladdr "+peer.Public.String()+
			" dev gre1 nud permanent")
	m.Helper()
}
