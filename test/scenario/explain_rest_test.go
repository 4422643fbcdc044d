//go:build lab

package scenario

import (
	"net/netip"
	"testing"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// A hub's route for a network leads to a spoke whose own route for it leads back to the hub: the
// question of another spoke ends in an error, and the packets of that spoke itself would go back to
// it. A spoke that has no room for a shortcut ignores the indication, one that asks for none never
// asks, and one whose static map contradicts an answer cannot use the answer.
func TestExplainMistakes(t *testing.T) {
	m := lab.NewMesh(t, lab.ThirdSpoke())
	m.Spoke1.Interface = append(m.Spoke1.Interface,
		`map = [{ protocol = "10.255.0.13", nbma = "192.0.2.99" }]`)
	m.Spoke2.Limits = append(m.Spoke2.Limits, "shortcuts = 1")
	m.Spoke3.Interface[len(m.Spoke3.Interface)-1] = "shortcut = false"
	m.Start()
	for _, s := range m.Sites()[1:] {
		registered(m, s, soon)
	}
	m.Hub.IP("route add 172.16.9.0/24 via 10.255.0.12 dev gre1 onlink")
	host1, host2, host3 := m.Spoke1.Host.Addr, m.Spoke2.Host.Addr, m.Spoke3.Host.Addr
	nowhere := netip.MustParseAddr("172.16.9.10")

	explainsAfter(m, sending(m.Spoke1, nowhere), m.Spoke1, nowhere, nobody, api.PathHub,
		api.ReasonError, "loop")
	explains(m, m.Hub, nowhere, host1, api.PathHub, api.ReasonPassedOn,
		"its question was passed on to 10.255.0.12 at 192.0.2.12")
	explains(m, m.Hub, nowhere, host2, api.PathHub, api.ReasonSameRouter,
		"172.16.9.0/24 via 10.255.0.12 on gre1")

	explainsAfter(m, sending(m.Spoke1, host3), m.Spoke1, host3, nobody, api.PathHub,
		api.ReasonInadmissible, "10.255.0.13 answered: 172.16.3.0/24")

	explainsAfter(m, sending(m.Spoke3, host1), m.Hub, host1, host3, api.PathHub,
		api.ReasonIndicated, "this router told it that there is a shorter way")
	explains(m, m.Spoke3, host1, nobody, api.PathHub, api.ReasonOff, "shortcuts off")

	shortcut(m)
	explainsAfter(m, sending(m.Spoke2, host3), m.Spoke2, host3, nobody, api.PathHub,
		api.ReasonIgnored, "nothing followed from it: ")
	encrypted(m)
}

// While the direct path is being probed, and nothing passes by it, a spoke says so. A spoke that
// has left says so where its tunnel and a route through it stay, and otherwise that there is no
// route.
func TestExplainBeginningAndEnd(t *testing.T) {
	m := lab.NewMesh(t)
	m.Add(`path_timeout = "1m"`)
	m.Spoke1.IP("link add gre1 type gre local 192.0.2.11 key 42 ttl 64", "link set gre1 up")
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	host1, host2 := m.Spoke1.Host.Addr, m.Spoke2.Host.Addr
	m.Spoke2.Iptables("-A", "INPUT", "-s", m.Spoke1.Public.String(), "-p", "esp", "-j", "DROP")
	explainsAfter(m, sending(m.Spoke1, host2), m.Spoke1, host2, nobody, api.PathHub,
		api.ReasonProving, "proving")

	m.Spoke1.Cygnet("leave")
	m.Spoke1.SetRoutes()
	explains(m, m.Spoke1, host2, nobody, api.PathNone, api.ReasonLeft,
		"this router said goodbye there")
	m.Spoke2.Cygnet("leave")
	explains(m, m.Spoke2, host1, nobody, api.PathNone, api.ReasonNoRoute, "no route")
	encrypted(m)
}
