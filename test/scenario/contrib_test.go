//go:build lab

package scenario

import (
	"os"
	"path/filepath"
	"testing"

	"cygnet/test/lab"
)

// contrib returns the text of a file from the folder contrib.
func contrib(t lab.T, name string) string {
	t.Helper()
	root, err := lab.Root()
	if err != nil {
		t.Fatalf("read the example %s: %v", name, err)
	}
	text, err := os.ReadFile(filepath.Join(root, "contrib", name))
	if err != nil {
		t.Fatalf("read the example %s: %v", name, err)
	}
	return string(text)
}

// another turns the example of a spoke into that of another spoke, as the example's comments say.
func another(text string) string {
	return replace(text, "10.255.0.11", "10.255.0.12", "spoke1", "spoke2")
}

// exampleMesh returns the network that the examples are written for. Nothing runs on it yet.
func exampleMesh(t lab.T) *lab.Mesh {
	t.Helper()
	net := lab.New(t)
	site := func(name, nbma, overlay, lan string) *lab.Site {
		s := &lab.Site{
			Router:  net.Router(name, lab.Addr(nbma+"/24"), lab.LAN(lan)),
			Overlay: addr(overlay),
			Public:  addr(nbma),
		}
		s.Host = s.Router.Host(name + "-pc")
		return s
	}
	return &lab.Mesh{
		Net:    net,
		Hub:    site("hub", "198.51.100.1", "10.255.0.1", "172.16.0.1/24"),
		Spoke1: site("spoke1", "198.51.100.11", "10.255.0.11", "172.16.1.1/24"),
		Spoke2: site("spoke2", "198.51.100.12", "10.255.0.12", "172.16.2.1/24"),
	}
}

// runExamples starts the daemons with these configurations and awaits that both spokes are
// registered with the hub.
func runExamples(m *lab.Mesh, hub, spoke string) {
	m.Helper()
	m.Hub.Daemon = m.Hub.Cygnetd(hub)
	m.Spoke1.Daemon = m.Spoke1.Cygnetd(spoke)
	m.Spoke2.Daemon = m.Spoke2.Cygnetd(another(spoke))
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
}

// runStatic does what runExamples does, with static routes between the LANs. It proves that the
// spokes get shortcuts.
func runStatic(m *lab.Mesh, hub, spoke string) {
	m.Helper()
	runExamples(m, hub, spoke)
	m.Hub.IP("route add 172.16.1.0/24 via 10.255.0.11 dev gre1 onlink",
		"route add 172.16.2.0/24 via 10.255.0.12 dev gre1 onlink")
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		s.IP("route add 172.16.0.0/16 via 10.255.0.1 dev gre1 onlink")
	}
	shortcut(m)
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 10)
	encrypted(m)
}

// The examples with a pre-shared key work, on charon as Debian configures it and with our
// recommended settings.
func TestExamplesWithKey(t *testing.T) {
	m := exampleMesh(t)
	for _, s := range m.Sites() {
		s.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key made by openssl rand -base64 32\n")
		s.Charon = s.Router.DebianCharon(contrib(t, "swanctl/charon-cygnet.conf"))
	}
	runStatic(m, contrib(t, "cygnet/hub.toml"), contrib(t, "cygnet/spoke.toml"))
}

// The examples with certificates work: the example's script makes the certificates, and swanctl
// loads them.
func TestExamplesWithCertificates(t *testing.T) {
	m := exampleMesh(t)
	for _, s := range m.Sites() {
		s.Charon = s.Router.DebianCharon(contrib(t, "swanctl/charon-cygnet.conf"))
	}
	maker := m.Hub // any node would do: each has a directory to work in
	maker.WriteFile("/run/make-certificates", 0o755, contrib(t, "swanctl/make-certificates"))
	maker.Run("sh", "-c",
		"cd /run && ./make-certificates hub.example.net spoke1.example.net spoke2.example.net")
	for _, s := range m.Sites() {
		for from, to := range map[string]string{
			"example-ca.pem":             "x509ca/example-ca.pem",
			"x509/" + s.Name + ".pem":    "x509/" + s.Name + ".pem",
			"private/" + s.Name + ".pem": "private/" + s.Name + ".pem",
		} {
			text, err := os.ReadFile(maker.Path("/run/pki/" + from))
			if err != nil {
				t.Fatal(err)
			}
			s.WriteFile("/etc/swanctl/"+to, 0o600, string(text))
		}
		s.WriteFile("/etc/swanctl/swanctl.conf", 0o644, "include conf.d/*.conf\n")
		s.WriteFile("/etc/swanctl/conf.d/cygnet.conf", 0o640, contrib(t, "swanctl/cygnet.conf"))
		s.Run("swanctl", "--load-all")
	}
	runStatic(m, contrib(t, "swanctl/hub.toml"), contrib(t, "swanctl/spoke.toml"))
}

// The example for FRR works: BGP through the tunnels provides the routes, and shortcuts refine
// them.
func TestRoutingByFRR(t *testing.T) {
	m := exampleMesh(t)
	for _, s := range m.Sites() {
		s.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key made by openssl rand -base64 32\n")
		s.Charon = s.Router.Charon()
	}
	runExamples(m, contrib(t, "cygnet/hub.toml"), contrib(t, "cygnet/spoke.toml"))
	m.Hub.FRR("bgpd", contrib(t, "frr/hub.conf"))
	m.Spoke1.FRR("bgpd", contrib(t, "frr/spoke.conf"))
	m.Spoke2.FRR("bgpd", another(contrib(t, "frr/spoke.conf")))
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		m.Await(s.Name+" has a route to all sites by BGP", later, func() error {
			return lab.True(s.NextHop(m.Hub.Host.Addr) == m.Hub.Overlay, "the routes are %+v",
				s.Routes("172.16.0.0/12"))
		})
	}
	m.Await("spoke1 reaches spoke2's LAN", later, func() error {
		return m.Spoke1.Host.Reaches(m.Spoke2.Host.Addr)
	})
	shortcut(m)
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 10)
	encrypted(m)
}
