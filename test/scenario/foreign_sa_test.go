//go:build lab

package scenario

import (
	"syscall"
	"testing"

	"cygnet/test/lab"
)

// foreignSwanctl is the swanctl.conf of a router that does not run Cygnet, with the key of the
// mesh.
const foreignSwanctl = `connections {
	gre {
		version = 2
		local_addrs = LOCAL
		remote_addrs = REMOTE
		proposals = PROPOSAL
		local { auth = psk
			id = other.example.net }
		remote { auth = psk }
		children {
			gre {
				mode = MODE
				local_ts = dynamicSELECTOR
				remote_ts = dynamicSELECTOR
				esp_proposals = ESP
			}
		}
	}
}
secrets {
	ike { secret = "PSK" }
}
`

// A router has the key of the mesh but wants another kind of SA than the mesh has. It gets no SA
// that stays, whatever kind it wants, and the hub's log says what was wrong, unless charon itself
// refused. An SA of the right kind stays, which shows that the key is not the reason.
func TestForeignSAs(t *testing.T) {
	m := lab.NewMesh(t)
	m.Hub.Start()
	other := m.Router("other", lab.Addr("192.0.2.66/24"))
	charon := other.Charon()
	const good, esp = "aes256gcm16-prfsha384-x25519", "aes256gcm16-x25519"
	for _, c := range []struct {
		name, proposal, mode, selector, esp string
		says                                []string // in the hub's log; none if charon refuses
		stays                               bool
	}{
		{"tunnel mode", good, "tunnel", "[gre]", esp,
			[]string{"SA refused", "other.example.net", "tunnel mode", "mode = transport"},
			false},
		{"part of GRE", good, "transport", "[gre/42]", esp,
			[]string{"SA refused", "other.example.net", "gre/42", "dynamic[gre]"}, false},
		{"other traffic", good, "transport", "[icmp]", esp, nil, false},
		{"weak IKE", "3des-sha1-modp1024", "transport", "[gre]", esp, nil, false},
		{"weak ESP", good, "transport", "[gre]", "3des-sha1", nil, false},
		{"what the mesh has", good, "transport", "[gre]", esp, nil, true},
		{"more than that, narrowed by charon", good, "transport", "", esp, nil, true},
	} {
		other.WriteFile("/etc/swanctl/swanctl.conf", 0o600,
			replace(foreignSwanctl, "LOCAL", "192.0.2.66", "REMOTE", "192.0.2.1",
				"PROPOSAL", c.proposal, "MODE", c.mode, "SELECTOR", c.selector, "ESP", c.esp,
				"PSK", m.Hub.PSK))
		other.Run("swanctl", "--load-all")
		out, err := other.Try("swanctl", "--initiate", "--child", "gre", "--timeout", "20")
		if c.stays && err != nil {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
		m.Await("the hub has an SA with the other router, with "+c.name+": or none", soon,
			func() error {
				sas := m.Hub.Charon.With(other.NBMA)
				return lab.True((len(sas) > 0) == c.stays, "charon lists %+v", sas)
			})
		if len(c.says) > 0 {
			m.Await("the hub's log tells of "+c.name, soon, func() error {
				return logged(m.Hub, c.says...)
			})
		}
		other.Try("swanctl", "--terminate", "--ike", "gre", "--timeout", "5")
		m.Await("nothing is left", soon, func() error {
			return lab.True(len(charon.SAs())+len(m.Hub.Charon.With(other.NBMA)) == 0,
				"the other router's charon lists %+v", charon.SAs())
		})
	}
	if n := m.Underlay.Count(lab.OfKind(lab.GRE)); n > 0 {
		t.Errorf("%d packets of clear GRE", n)
	}
}

// After a reload the hub's configuration admits fewer identities. The hub closes the SAs with all
// others, and says why.
func TestStricterIdentity(t *testing.T) {
	m := lab.NewMesh(t)
	m.Hub.IPsec = append(m.Hub.IPsec, `remote_identity = "*.example.net"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	strict := m.Hub.IPsec[:len(m.Hub.IPsec)-1]
	m.Hub.IPsec = append(strict[:len(strict):len(strict)], `remote_identity = "spoke2.example.net"`)
	m.Hub.WriteFile(lab.CygnetConfig, 0o640, m.Hub.Config())
	m.Hub.Daemon.Signal(syscall.SIGHUP)
	m.Await("the hub has no SA with spoke1", soon, func() error {
		sas := m.Hub.Charon.With(m.Spoke1.Public)
		return lab.True(len(sas) == 0, "charon lists %+v", sas)
	})
	m.Await("and says why", soon, func() error {
		return logged(m.Hub, "spoke1.example.net", "remote identity", "spoke2.example.net")
	})
	m.Await("and no neighbour", later, func() error {
		_, there := m.Hub.Neighbors("gre1")[m.Spoke1.Overlay]
		return lab.True(!there, "%v", m.Hub.Neighbors("gre1"))
	})
	m.Spoke2.Host.Ping(m.Hub.Host.Addr, 3)
	encrypted(m)
}
