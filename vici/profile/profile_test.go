package profile

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/vici/message"
)

func TestConnection(t *testing.T) {
	spoke := testProfile()
	dir := t.TempDir()
	for _, name := range []string{"hub.pem", "ca.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("what is in "+name),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
	certs := Profile{
		Interface: "gre0", Hub: true, Certs: []string{dir + "/hub.pem"},
		CACerts: []string{dir + "/ca.pem"}, RemoteIdentity: "*.example.net",
		DPDDelay: 30 * time.Second, RekeyTime: time.Hour, ChildRekeyTime: 20 * time.Minute,
		Proposals: []string{"aes256-sha384-ecp384"}, ESPProposals: []string{"aes256gcm16"},
		Connection: map[string]any{"fragmentation": true, "send_cert": "always",
			"local": map[string]any{"id": "other"}, "if_id_in": 7},
		Child: map[string]any{"local_ts": []any{"dynamic[gre]", "dynamic[icmp]"},
			"replay_window": int64(128)},
	}
	for _, test := range []struct {
		name    string
		applied Profile
		peer    netip.Addr
		want    string
	}{
		{"template", spoke, netip.Addr{}, `{
  cygnet-gre1 {
    childless = never
    children {
      gre {
        close_action = none
        dpd_action = clear
        esp_proposals = aes256gcm16-x25519-ke1_mlkem768,aes256gcm16-x25519-ecp384,aes128gcm16-x25519-ecp256
        local_ts = dynamic[gre]
        mode = transport
        priority = 1000
        rekey_time = 3600s
        remote_ts = dynamic[gre]
        start_action = none
      }
    }
    dpd_delay = 10s
    keyingtries = 1
    local {
      auth = psk
      id = me.example.net
    }
    local_addrs = 192.0.2.100
    mobike = no
    proposals = aes256gcm16-prfsha384-x25519-ke1_mlkem768,aes256gcm16-prfsha384-x25519-ecp384,aes128gcm16-prfsha256-x25519-ecp256
    reauth_time = 0s
    rekey_time = 14400s
    remote {
      auth = psk
      id = %any
    }
    remote_addrs = %any
    unique = never
    version = 2
  }
}
`},
		{"peer, with certificates and overrides", certs, netip.MustParseAddr("2001:db8::1"), `{
  cygnet-gre0-2001:db8::1 {
    childless = never
    children {
      gre {
        close_action = none
        dpd_action = clear
        esp_proposals = aes256gcm16
        local_ts = dynamic[gre],dynamic[icmp]
        mode = transport
        priority = 1000
        rekey_time = 1200s
        remote_ts = dynamic[gre]
        replay_window = 128
        start_action = none
      }
    }
    dpd_delay = 30s
    fragmentation = yes
    if_id_in = 7
    keyingtries = 1
    local {
      auth = pubkey
      certs = what is in hub.pem
      id = other
    }
    mobike = no
    proposals = aes256-sha384-ecp384
    reauth_time = 0s
    rekey_time = 3600s
    remote {
      auth = pubkey
      cacerts = what is in ca.pem
      id = *.example.net
    }
    remote_addrs = 2001:db8::1
    send_cert = always
    unique = no
    version = 2
  }
}
`},
	} {
		m, err := test.applied.NewConnection(test.peer, false)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(lines(test.want), lines(m.String())); diff != "" {
			t.Errorf("%s: -want +got\n%s", test.name, diff)
		}
	}
}

// lines strips the indentation, which govici prints unevenly.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		all = append(all, strings.TrimSpace(line))
	}
	return all
}

// Who a PSK is for: this end's identity, and the peers that match.
func TestSharedKeyOwners(t *testing.T) {
	p := testProfile()
	for _, test := range []struct {
		remote string
		want   []string
	}{
		{"", []string{"%any", "me.example.net"}},
		{"*.example.net", []string{"*.example.net", "me.example.net"}},
	} {
		p.RemoteIdentity = test.remote
		m, err := p.NewSharedKey()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, message.List(m, "owners")); diff != "" {
			t.Errorf("remote identity %q: %s", test.remote, diff)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Profile)
		want   string // "": valid
	}{
		{"PSK", func(*Profile) {}, ""},
		{"certificate by identity", func(p *Profile) { p.PSK = nil }, ""},
		{"no interface", func(p *Profile) { p.Interface = "" }, "needs an interface"},
		{"two ways to authenticate", func(p *Profile) { p.Certs = []string{"a.pem"} },
			"both a PSK and certificates"},
		{"a certificate that is not there", func(p *Profile) {
			p.PSK, p.Certs = nil,
				[]string{"none.pem"}
		},
			"profile of gre1: read a certificate: stat /etc/swanctl/x509/none.pem: no such file"},
		{"an authority that is a folder", func(p *Profile) {
			p.PSK, p.CACerts = nil,
				[]string{"/dev"}
		}, "/dev is not a regular file"},
		{"an endless certificate", func(p *Profile) {
			p.PSK, p.Certs = nil,
				[]string{"/proc/self/exe"}
		}, "is longer than 65535 bytes"},
		{"no address", func(p *Profile) { p.LocalAddrs = []netip.Addr{netip.IPv4Unspecified()} },
			"0.0.0.0 is no address"},
		{"a float", func(p *Profile) { p.Child = map[string]any{"rekey_time": 1.5} },
			"rekey_time: float64"},
		{"a list of numbers", func(p *Profile) { p.Connection = map[string]any{"vips": []any{1}} },
			"vips: item 1 is int"},
	} {
		p := testProfile()
		test.change(&p)
		err := p.Validate()
		if test.want == "" && err != nil || test.want != "" &&
			(err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// testProfile is a profile with a PSK.
func testProfile() Profile {
	return Profile{Interface: "gre1", LocalAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.100")},
		Identity: "me.example.net", PSK: Secret("hunter2")}
}
