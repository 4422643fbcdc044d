//go:build lab

package scenario

import (
	"testing"
	"time"

	"cygnet/test/lab"
)

// siteConf is the swanctl.conf of a site that had strongSwan before, in pieces as such files are: a template, a connection that inherits
// from it, secrets by identity.
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

// dropIn makes all sites of a mesh ones with a swanctl.conf of their own, loaded by swanctl. No daemon runs yet.
func dropIn(m *lab.Mesh) {
	m.Helper()
	for _, s := range m.Sites() {
		s.IPsec = []string{`swanctl_connection = "dmvpn"`}
		s.WriteFile("/etc/swanctl/swanctl.conf", 0o640, replace(siteConf, "NAME", s.Name, "ADDRESS", s.NBMA.String()))
		s.WriteFile("/etc/swanctl/conf.d/templates.conf", 0o640, siteTemplates)
		s.Charon = s.Router.Charon()
		s.Run("swanctl", "--load-all")
	}
}

// A site with a swanctl.conf names its connection, and that is all: cygnet check is content, SAs come as the connection says with the
// site's secrets, spokes find each other, and neither the administrator's swanctl --load-all nor a daemon that is killed loses a packet.
func TestExistingConnection(t *testing.T) {
	m := lab.NewMesh(t)
	dropIn(m)
	m.Spoke2.WriteFile("/etc/swanctl/conf.d/templates.conf", 0o640, replace(siteTemplates, "mode = transport", "priority = 1000\n\t\t\t\tmode = transport"))
	m.Spoke2.Run("swanctl", "--load-all")
	for _, s := range m.Sites() {
		s.StartDaemon()
		if out := s.Cygnet("check"); !contains(out, "is valid", "dmvpn of /etc/swanctl/swanctl.conf") || contains(out, "warning") {
			t.Errorf("cygnet check on %s: %s", s.Name, out)
		}
	}
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	// The site's SAs come before the front guard only where its child says so.
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
	if out := m.Spoke1.Run("swanctl", "--list-sas"); !contains(out, "AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519") {
		t.Errorf("the SAs are not as the site's proposals have them:\n%s", out)
	}

	// With the tunnel's own address in it, the site's connection is as good for who dials in as the daemon's, and was there before.
	if sas := m.Hub.Charon.With(m.Spoke1.Public); len(sas) != 1 || sas[0].Name != "dmvpn" {
		t.Errorf("the hub's SAs with spoke1 are %+v; one by the site's connection was to be expected", sas)
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

// What stands in the way is told by cygnet check without charon and daemon, by file and line of swanctl.conf; and the daemon does not start.
func TestExistingConnectionInTunnelMode(t *testing.T) {
	m := lab.NewMesh(t)
	s := m.Spoke1
	s.WriteFile("/etc/swanctl/swanctl.conf", 0o640, replace(siteConf, "NAME", s.Name, "ADDRESS", s.NBMA.String()))
	s.WriteFile("/etc/swanctl/conf.d/templates.conf", 0o640, replace(siteTemplates, "mode = transport", "mode = tunnel"))
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
