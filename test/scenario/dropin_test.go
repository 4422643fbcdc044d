//go:build lab

package scenario

import (
	"testing"
	"time"

	"cygnet/test/lab"
)

// siteConf is the swanctl.conf of a site that had strongSwan before Cygnet. It is in pieces, as
// such files are: a template, a connection that inherits from the template, and secrets by
// identity.
const siteConf = `include conf.d/*.conf

connections {
	dmvpn : templates.transport {
		local_addrs = ADDRESS
		local : templates.key {
			id = NAME.example.net
		}
		remote : templates.key {
			id = *.example.net
		}
	}
	office {
		remote_addrs = 192.0.2.200
		local { auth = psk }
		remote { auth = psk }
		children { lan { local_ts = 172.30.0.0/24
			remote_ts = 172.31.0.0/24 } }
	}
}
secrets {
	ike-dmvpn {
		id-us = *.example.net
		secret = "the site's key, which is no business of the daemon's"
	}
}
`

// siteTemplates is the file of templates that siteConf includes.
const siteTemplates = `# what all connections have in common
templates {
	key { auth = psk }
	transport {
		version = 2
		remote_addrs = %any
		proposals = aes128-sha256-x25519
		dpd_delay = 10s
		children {
			tunnels {
				mode = transport
				local_ts = dynamic[gre]
				remote_ts = dynamic[gre]
				esp_proposals = aes128gcm16-x25519
			}
		}
	}
}
`

// dropIn gives each site of a mesh a swanctl.conf of its own, loaded by swanctl. No daemon runs
// yet.
func dropIn(m *lab.Mesh) {
	m.Helper()
	for _, s := range m.Sites() {
		s.IPsec = []string{`swanctl_connection = "dmvpn"`}
		s.WriteFile("/etc/swanctl/swanctl.conf", 0o640,
			replace(siteConf, "NAME", s.Name, "ADDRESS", s.NBMA.String()))
		s.WriteFile("/etc/swanctl/conf.d/templates.conf", 0o640, siteTemplates)
		s.Charon = s.Router.Charon()
		s.Run("swanctl", "--load-all")
	}
}

// A site that has a swanctl.conf only has to tell Cygnet the name of its connection. cygnet check
// warns of nothing, the SAs are as the connection says and use the site's secrets, and the spokes
// get shortcuts. Neither the administrator's swanctl --load-all nor the kill of a daemon loses a
// packet.
func TestExistingConnection(t *testing.T) {
	m := lab.NewMesh(t)
	dropIn(m)
	m.Spoke2.WriteFile("/etc/swanctl/conf.d/templates.conf", 0o640,
		replace(siteTemplates, "mode = transport", "priority = 1000\n\t\t\t\tmode = transport"))
	m.Spoke2.Run("swanctl", "--load-all")
	for _, s := range m.Sites() {
		s.StartDaemon()
		if out := s.Cygnet("check"); !contains(out, "is valid",
			"dmvpn of /etc/swanctl/swanctl.conf") || contains(out, "warning") {
			t.Errorf("cygnet check on %s: %s", s.Name, out)
		}
	}
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	// The daemon sets the front guard only where the site's SAs come before it. They do at spoke2,
	// whose CHILD_SA has a priority for that.
	for s, want := range map[*lab.Site]int{m.Hub: 2, m.Spoke1: 2, m.Spoke2: 6} {
		if got := len(s.Guards()); got != want {
			t.Errorf("%s has %d policies that block GRE, not %d", s.Name, got, want)
		}
	}
	for _, sa := range m.Spoke1.Charon.With(m.Hub.Public) {
		if sa.RemoteID != "hub.example.net" || sa.Mode != "TRANSPORT" {
			t.Errorf("the SA with the hub is %+v", sa)
		}
	}
	if out := m.Spoke1.Run("swanctl", "--list-sas"); !contains(out,
		"AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519") {
		t.Errorf("the SAs are not as the site's proposals have them:\n%s", out)
	}

	// The site's connection names the tunnel's own address. For a spoke that dials in, charon
	// therefore finds it as good as the daemon's connection, and takes the one that was there
	// before.
	if sas := m.Hub.Charon.With(m.Spoke1.Public); len(sas) != 1 || sas[0].Name != "dmvpn" {
		t.Errorf("the hub's SAs with spoke1 are %+v; one by the site's connection was to be expected",
			sas)
	}

	train := m.Spoke1.Host.Train(m.Spoke2.Host.Addr, 20*time.Millisecond)
	for _, s := range m.Sites() {
		s.Run("swanctl", "--load-all")
		s.Daemon.Kill()
		s.Daemon.Start()
		registered(m, m.Spoke1, soon)
	}
	if sent, lost := train.Stop(); lost > 0 || sent == 0 {
		t.Errorf("%d of %d pings were lost", lost, sent)
	}
	alive(m)
	encrypted(m)
}

// A connection in tunnel mode cannot be used. cygnet check says so without charon and daemon, with
// the file and the line, and the daemon does not start.
func TestExistingConnectionInTunnelMode(t *testing.T) {
	m := lab.NewMesh(t)
	s := m.Spoke1
	s.WriteFile("/etc/swanctl/swanctl.conf", 0o640,
		replace(siteConf, "NAME", s.Name, "ADDRESS", s.NBMA.String()))
	s.WriteFile("/etc/swanctl/conf.d/templates.conf", 0o640,
		replace(siteTemplates, "mode = transport", "mode = tunnel"))
	s.IPsec = []string{`swanctl_connection = "dmvpn"`}
	d := s.LaunchCygnetd(s.Config())
	if code := d.Wait(soon); code == 0 {
		t.Error("the daemon ended as if all were well")
	}
	out, err := s.TryCygnet("check")
	if err == nil {
		t.Error("cygnet check has nothing to say")
	}
	want := "/etc/swanctl/conf.d/templates.conf:11: connections.dmvpn.children.tunnels.mode: found \"tunnel\""
	for what, text := range map[string]string{"cygnetd": d.Output(), "cygnet check": out} {
		if !contains(text, want) {
			t.Errorf("%s does not say %s: %s", what, want, text)
		}
	}
}
