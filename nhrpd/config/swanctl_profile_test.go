package config

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cygnet/nhrpd/config/document"
	"cygnet/nhrpd/config/hostfile"
)

// dropIn is a spoke whose profile is a connection in the site's swanctl.conf.
const dropIn = `[interface.gre1]
address = "10.255.0.11/24"
underlay = "192.0.2.11"
nhs = [{ nbma = "192.0.2.1" }]

[interface.gre1.ipsec]
swanctl_connection = "dmvpn"
swanctl_conf = "DIR/swanctl.conf"
`

const siteConnection = `connections {
	dmvpn {
		version = 2
		remote_addrs = %any
		dpd_delay = 10s
		local {
			auth = psk
			id = spoke1.example.net
		}
		remote {
			auth = psk
		}
		children {
			tunnels {
				mode = transport
				local_ts = dynamic[gre]
				remote_ts = dynamic[gre]
			}
		}
	}
}
secrets {
	ike-dmvpn {
		secret = "correct horse battery staple"
	}
}
include conf.d/*.conf
`

// A connection whose shared key is not in the file, or is readable by others, does not stop the
// daemon from starting. It is an obstacle.
func TestSharedKeysOfExistingConnection(t *testing.T) {
	s := newSite(t)
	without, _, _ := strings.Cut(siteConnection, "secrets {")
	cfg, says := s.check(dropIn, without, "")
	if cfg == nil || !strings.Contains(says, "DIR/swanctl.conf: connections.dmvpn: auth = psk, and the file has no key: no peer can be secured; add secrets { ike-dmvpn") {
		t.Errorf("without a key it says %q", says)
	}
	if _, says := s.check(
		dropIn, strings.ReplaceAll(without, "auth = psk", "auth = pubkey"), "",
	); says != "" {
		t.Errorf("with certificates it says %q", says)
	}
	s.write("keys.conf", "secrets {\n\teap-x {\n\t\tsecret = x\n\t}\n\tike {\n\t\tsecret = battery\n\t}\n}\n", 0o644)
	if err := os.Chmod(s.path("keys.conf"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, says = s.check(dropIn, without+"include keys.conf\n", "")
	if cfg == nil || !strings.Contains(says, "DIR/keys.conf:6: everybody on this host has access to DIR/keys.conf") || strings.Contains(says, "battery") {
		t.Errorf("with a key that all may read it says %q", says)
	}
}

// check loads a configuration with a swanctl.conf beside it. It returns the configuration and what
// is wrong with the two files, with DIR in the place of their folder.
func (s site) check(conf, swanctlConf, ipsecConf string) (*Config, string) {
	s.t.Helper()
	s.write("cygnet.toml", strings.ReplaceAll(conf, "DIR", s.dir), 0o640)
	s.write("swanctl.conf", swanctlConf, 0o640)
	s.write("ipsec.conf", ipsecConf, 0o644)
	c := &checker{read: hostfile.Read, legacyConf: s.path("ipsec.conf")}
	f, err := hostfile.Read(s.path("cygnet.toml"))
	if err != nil {
		s.t.Fatal(err)
	}
	texts := []document.File{{Name: s.path("cygnet.toml"), Data: f.Data}}
	cfg, err := c.parse(texts, []*hostfile.File{f})
	says := ""
	if err != nil {
		says = fmt.Sprint(err)
	} else {
		says = strings.Join(append(c.Warnings, c.obstacles...), "\n")
	}
	return cfg, strings.ReplaceAll(says, s.dir, "DIR")
}

// The profile is the connection of swanctl.conf and nothing else.
func TestExistingConnection(t *testing.T) {
	cfg, says := newSite(t).check(dropIn, siteConnection, "")
	if says != "" {
		t.Fatal(says)
	}
	got := cfg.Interfaces[0].IPsec
	if got.SwanctlConnection != "dmvpn" || got.Swanctl == nil || got.Swanctl.Name != "dmvpn" ||
		got.Identity != "" || got.Proposals != nil {
		t.Errorf("the profile is %+v", got)
	}
	want := map[string]any{
		"mode": "transport", "local_ts": []string{"dynamic[gre]"},
		"remote_ts": []string{"dynamic[gre]"},
	}
	if diff := cmp.Diff(want, got.Swanctl.Child); diff != "" {
		t.Errorf("the child: want (-), got (+):\n%s", diff)
	}
}

// Everything in swanctl.conf that cannot be used is reported at once, each with the line there that
// has to change. A connection that does not exist is reported with the line of our file.
func TestExistingConnectionThatCannotBeUsed(t *testing.T) {
	const legacy = "config setup\nconn %default\n\tkeyexchange=ikev2\nconn office\n\tright=%any\n"
	for _, c := range []struct {
		name                string
		conf, with          string // a replacement in dropIn
		swanctlConf, change string // a replacement in siteConnection
		ipsecConf           string
		says                string
	}{
		{name: "tunnel mode and one peer", swanctlConf: "mode = transport", change: "mode = tunnel\n\t\t\t\tstart_action = start", says: `DIR/swanctl.conf:15: connections.dmvpn.children.tunnels.mode: found "tunnel": GRE is a tunnel already and needs transport mode; write mode = transport
DIR/swanctl.conf:16: connections.dmvpn.children.tunnels.start_action: found "start": the daemon dials when a peer is needed, and charon dialling by itself makes a second SA of it; write start_action = none`},
		{name: "another source", swanctlConf: "version = 2", change: "local_addrs = 192.0.2.99",
			says: `DIR/swanctl.conf:3: connections.dmvpn.local_addrs: found "192.0.2.99", and the tunnel sends from 192.0.2.11 (underlay); write local_addrs = 192.0.2.11, or remove the line`},
		{name: "ours first", conf: `address = "10.255.0.11/24"`, with: `address = "10.255.0.11"`, swanctlConf: "version = 2", change: "version = 1", says: `DIR/cygnet.toml:2: interface.gre1.address: found "10.255.0.11", allowed is an address with a prefix length, such as "10.255.0.11/24"
DIR/swanctl.conf:3: connections.dmvpn.version: found "1": the daemon needs IKEv2; write version = 2`},
		{name: "no such connection", conf: `"dmvpn"`, with: `"dmvnp"`, says: `DIR/cygnet.toml:7: interface.gre1.ipsec.swanctl_connection: DIR/swanctl.conf: no connection "dmvnp"; the file has dmvpn`},
		{name: "a broken file", swanctlConf: "\t}\n}\n", change: "", says: `DIR/cygnet.toml:7: interface.gre1.ipsec.swanctl_connection: DIR/swanctl.conf:2: the section "dmvpn" is not closed: a } is missing`},
		{name: "no such file", conf: "DIR/swanctl.conf", with: "DIR/none.conf", says: `DIR/cygnet.toml:7: interface.gre1.ipsec.swanctl_connection: DIR/none.conf: cannot be read: no such file or directory`},
		{name: "only ipsec.conf has connections", swanctlConf: "connections",
			change: "disconnections", ipsecConf: legacy, says: `DIR/cygnet.toml:7: interface.gre1.ipsec.swanctl_connection: DIR/swanctl.conf: no connection "dmvpn", and no other: there is no section in connections { … }; DIR/ipsec.conf has connections (office), but ipsec.conf can neither be read nor be controlled over VICI: write the one for GRE anew as a connection of swanctl.conf, or give identity and psk_file or certificates here`},
		{name: "only ipsec.conf, and nothing said",
			conf: dropIn[strings.Index(dropIn, "[interface.gre1.ipsec]"):], with: "",
			ipsecConf: legacy, says: `DIR/cygnet.toml:1: interface.gre1.ipsec: missing, so nothing would protect the tunnel; add [interface.gre1.ipsec] with identity and psk_file or certificates, or say protection = "none" for clear GRE in a lab; DIR/ipsec.conf has connections (office), but ipsec.conf can neither be read nor be controlled over VICI: write the one for GRE anew as a connection of swanctl.conf, or give identity and psk_file or certificates here`},
		{name: "a profile of ours beside it", conf: "swanctl_conf", with: "identity = \"x\"\nconnection = { mobike = false }\nswanctl_conf", says: `DIR/cygnet.toml:8: interface.gre1.ipsec.identity: found together with swanctl_connection; set it in that connection in swanctl.conf instead
DIR/cygnet.toml:9: interface.gre1.ipsec.connection: found together with swanctl_connection; set it in that connection in swanctl.conf instead`},
		{name: "a file without a connection", conf: "swanctl_connection = \"dmvpn\"\n", with: "",
			says: `DIR/cygnet.toml:7: interface.gre1.ipsec.swanctl_conf: found without swanctl_connection, the name of the connection in it that protects the tunnel`},
		{name: "a warning has its place as well", swanctlConf: "dpd_delay = 10s", change: "dpd_delay = 0", says: `DIR/swanctl.conf:5: connections.dmvpn.dpd_delay: that a peer is dead is only noticed when keys change; write dpd_delay = 10s`},
		{name: "an include of nothing", swanctlConf: "include conf.d/*.conf", change: "include conf.d/gone.conf", says: `DIR/swanctl.conf:27: conf.d/gone.conf does not exist, so nothing is included`},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf, swanctlConf := dropIn, siteConnection
			if c.conf != "" {
				conf = strings.Replace(conf, c.conf, c.with, 1)
			}
			if c.swanctlConf != "" {
				swanctlConf = strings.Replace(swanctlConf, c.swanctlConf, c.change, 1)
			}
			if _, says := newSite(t).check(conf, swanctlConf, c.ipsecConf); says != c.says {
				t.Errorf("got  %s\nwant %s", says, c.says)
			}
		})
	}
}

// ipsec.conf as Debian installs it has no connection, and causes no message.
func TestNoLegacy(t *testing.T) {
	_, says := newSite(t).check(dropIn, "", "# conn sample\nconfig setup\n#conn x\ninclude /var/lib/strongswan/ipsec.conf.inc\n")
	if strings.Contains(says, "ipsec.conf") {
		t.Error(says)
	}
}

// Parse opens no file, so it does not look for the connection.
func TestParseDoesNotReadSwanctlConf(t *testing.T) {
	cfg, err := Parse([]byte(strings.Replace(dropIn, "DIR", "", 1)), "cygnet.toml")
	if err != nil {
		t.Fatal(err)
	}
	if s := cfg.Interfaces[0].IPsec; s.SwanctlConnection != "dmvpn" ||
		s.SwanctlConf != "/swanctl.conf" || s.Swanctl != nil {
		t.Errorf("the profile is %+v", s)
	}
}
