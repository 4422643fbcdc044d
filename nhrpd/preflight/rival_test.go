package preflight

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"cygnet/nhrpd/config"
)

// A finding names a connection of swanctl.conf that takes the routers that dial in, with its place
// and both remedies. remote_identity is one of them.
func TestConnectionThatTakesPeers(t *testing.T) {
	roadWarriors := "connections {\n\trw {\n\t\tversion = 2\n\t\tlocal_addrs = ADDRESS\n\t\tlocal { auth = psk }\n\t\tremote { auth = psk }\n\t}\n}\n"
	for name, c := range map[string]struct {
		local  string
		change func(*config.Interface)
		found  bool
	}{
		"as it is":            {"198.51.100.1", func(*config.Interface) {}, true},
		"at an IPv6 address":  {"2001:db8::1", func(*config.Interface) {}, true},
		"at a reserve's":      {"172.16.1.1", func(*config.Interface) {}, true},
		"at another address":  {"192.0.2.1", func(*config.Interface) {}, false},
		"at a link-local one": {"fe80::1", func(*config.Interface) {}, false},
		"at a fixed address": {"2001:db8::7", func(i *config.Interface) {
			i.Underlay = config.Underlay{Address6: netip.MustParseAddr("2001:db8::7")}
		}, true},
		"with remote_identity": {"198.51.100.1", func(i *config.Interface) {
			i.IPsec.RemoteIdentity = "*.example.net"
		}, false},
		"by certificate": {"198.51.100.1", func(i *config.Interface) {
			i.IPsec.Auth = config.AuthCertificate
		}, false},
		"without IPsec": {"198.51.100.1", func(i *config.Interface) {
			i.Protected, i.IPsec = false, nil
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, dir := host(t)
			write(t, filepath.Join(dir, "swanctl", "swanctl.conf"),
				strings.Replace(roadWarriors, "ADDRESS", c.local, 1))
			i := config.Interface{
				Name:      "gre1",
				Protected: true,
				Underlay:  config.Underlay{Device: "eth0"},
				Reserve:   []string{"eth1"},
				IPsec:     &config.IPsec{Auth: config.AuthPSK},
			}
			c.change(&i)
			var texts []string
			for _, f := range h.Strongswan(&config.Config{
				Interfaces: []config.Interface{i},
			}) {
				if strings.Contains(f.Text, "the connection rw") {
					texts = append(texts, string(f.Severity)+" "+f.Text)
				}
			}
			if c.found != (len(texts) == 1) {
				t.Fatalf("found %q, want it found: %v", texts, c.found)
			}
			for _, words := range []string{
				"warning ",
				"swanctl.conf:2",
				"no SA for gre1",
				"remote_identity in [interface.gre1.ipsec]",
				"narrow remote id or remote_addrs of rw",
			} {
				if c.found && !strings.Contains(texts[0], words) {
					t.Errorf("%q does not say %q", texts[0], words)
				}
			}
		})
	}
}
