//go:build lab

package scenario

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// swanctlStatic is a swanctl.conf for GRE in transport mode with one fixed peer.
const swanctlStatic = `connections {
	gre {
		version = 2
		local_addrs = LOCAL
		remote_addrs = REMOTE
		proposals = aes128-sha256-x25519
		local { auth = psk }
		remote { auth = psk }
		children {
			gre {
				mode = transport
				local_ts = dynamic[gre]
				remote_ts = dynamic[gre]
				esp_proposals = aes128gcm16-x25519
			}
		}
	}
}
secrets {
	ike { secret = "a key for the lab" }
}
`

// The lab itself works: its network carries GRE in clear and inside ESP, and its capture tells one
// from the other.
func TestLabItself(t *testing.T) {
	net := lab.New(t)
	left := net.Router("left", lab.Addr("192.0.2.1/24"), lab.LAN("172.16.0.1/24"))
	right := net.Router("right", lab.Addr("192.0.2.2/24"), lab.LAN("172.16.1.1/24"))
	a, b := left.Host("a"), right.Host("b")
	for _, r := range []*lab.Router{left, right} {
		r.IP("link add gre1 type gre local "+r.NBMA.String()+" key 42 ttl 64",
			"link set gre1 arp on up")
	}
	left.IP("addr add 10.255.0.1/24 dev gre1",
		"neigh add 10.255.0.2 lladdr 192.0.2.2 dev gre1 nud permanent",
		"route add 172.16.1.0/24 via 10.255.0.2 dev gre1 onlink")
	right.IP("addr add 10.255.0.2/24 dev gre1",
		"neigh add 10.255.0.1 lladdr 192.0.2.1 dev gre1 nud permanent",
		"route add 172.16.0.0/24 via 10.255.0.1 dev gre1 onlink")

	a.Ping(b.Addr, 3)
	if gre, esp := net.Underlay.Count(lab.OfKind(lab.GRE)),
		net.Underlay.Count(lab.OfKind(lab.ESP)); gre != 6 || esp != 0 {
		t.Fatalf("without IPsec the capture counts %d clear GRE and %d ESP packets; 3 pings are 6 and 0",
			gre, esp)
	}

	charon := left.Charon()
	right.Charon()
	left.WriteFile("/etc/swanctl/swanctl.conf", 0o600,
		replace(swanctlStatic, "LOCAL", "192.0.2.1", "REMOTE", "192.0.2.2"))
	right.WriteFile("/etc/swanctl/swanctl.conf", 0o600,
		replace(swanctlStatic, "LOCAL", "192.0.2.2", "REMOTE", "192.0.2.1"))
	left.Run("swanctl", "--load-all")
	right.Run("swanctl", "--load-all")
	left.Run("swanctl", "--initiate", "--child", "gre", "--timeout", "20")
	secured := time.Now()
	if sas := charon.With(right.NBMA); len(sas) != 1 || !sas[0].ChildUp ||
		sas[0].Mode != "TRANSPORT" {
		t.Fatalf("charon lists %+v", sas)
	}

	a.Ping(b.Addr, 3)
	after := lab.Since(secured)
	gre, esp := net.Underlay.Count(lab.OfKind(lab.GRE), after),
		net.Underlay.Count(lab.OfKind(lab.ESP), after)
	if gre != 0 || esp != 6 || net.Underlay.Count(lab.OfKind(lab.IKE)) == 0 {
		t.Fatalf("with IPsec the capture counts %d clear GRE and %d ESP packets; 3 pings are 0 and 6",
			gre, esp)
	}
	if n := left.ESPBetween(left.NBMA, right.NBMA); n != 3 {
		t.Fatalf("the kernel's SA to the right counts %d packets", n)
	}

	right.Iptables("-A", "FORWARD", "-p", "icmp", "--icmp-type", "echo-request", "-m", "statistic",
		"--mode", "nth", "--every", "3", "--packet", "2", "-j", "DROP")
	lost := fmt.Sprint(a.PingAs(b.Addr, 5, lab.Request{}))
	third := "\ta to " + b.Addr.String() + "\t2\n"
	if !contains(lost, "5 of 5 requests are sent", third) || strings.Count(lost, "\ta to ") != 1 {
		t.Errorf("of 5 requests the third is dropped, and the lab says: %s", lost)
	}
	right.Iptables("-F", "FORWARD")
	long := lab.Request{Length: 1500, DF: "do"}
	if told := fmt.Sprint(a.PingAs(b.Addr, 2, long)); !contains(told, "message too long") {
		t.Errorf("of requests that are too long the lab says: %s", told)
	}

	tunnel := left.Capture("gre1")
	left.Run("tc", "qdisc", "add", "dev", "gre1", "root", "netem", "delay", "300ms")
	flow, begun := a.Flow(b.Addr, 20*time.Millisecond), time.Now()
	flow.Back(begun, soon)
	flow.Stop()
	sent, came := tunnel.Count(flow.Requests()), tunnel.Count(flow.Replies())
	if sent != came || came < 15 {
		t.Errorf("of the answers to %d requests that take 300 ms %d came before the flow ended",
			sent, came)
	}
}
