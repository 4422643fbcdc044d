//go:build lab

package scenario

import (
	"fmt"
	"syscall"
	"testing"

	"cygnet/test/lab"
)

// roadWarriors is a connection for road warriors, as many hubs have one. charon also takes it for
// routers that dial in.
const roadWarriors = `connections {
	rw {
		version = 2
		local_addrs = 192.0.2.1
		local { auth = psk }
		remote {
			auth = psk
			id = %any
		}
		children { net { local_ts = 0.0.0.0/0 } }
	}
}
`

// A connection for road warriors on the hub takes the spokes, which therefore get no SA. cygnet
// check says so beforehand, cygnet status says which connection took which spoke, and
// remote_identity cures it.
func TestRoadWarriorsTakeSpokes(t *testing.T) {
	m := lab.NewMesh(t)
	m.Hub.WriteFile("/etc/swanctl/swanctl.conf", 0o640, roadWarriors)
	m.Hub.Charon = m.Hub.Router.Charon()
	m.Hub.Run("swanctl", "--load-all")
	m.Hub.StartDaemon()
	if out, _ := m.Hub.TryCygnet("check"); !contains(out,
		"the connection rw (/etc/swanctl/swanctl.conf:2) is as good for routers that dial in") {
		t.Errorf("cygnet check does not tell:\n%s", out)
	}
	m.Spoke1.Start()
	m.Await("the hub says who takes the spoke", soon, func() error {
		if out, _ := m.Hub.TryCygnet("status"); !contains(out, "charon chooses the connection rw",
			"spoke1.example.net from 192.0.2.11", "remote_identity") {
			return fmt.Errorf("cygnet status says\n%s", out)
		}
		return nil
	})
	m.Hub.IPsec = append(m.Hub.IPsec, `remote_identity = "*.example.net"`)
	m.Hub.WriteFile(lab.CygnetConfig, 0o640, m.Hub.Config())
	m.Hub.Daemon.Signal(syscall.SIGHUP)
	registered(m, m.Spoke1, soon)
	if out, _ := m.Hub.TryCygnet("status"); contains(out, "charon chooses the connection") {
		t.Errorf("cygnet status still tells it:\n%s", out)
	}
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 3)
	alive(m)
}
