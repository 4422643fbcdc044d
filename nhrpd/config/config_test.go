package config

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/nhrpd/config/secret"
)

const spoke = `
[interface.gre1]
address  = "10.255.0.11/24"       # overlay
underlay = "eth0"                 # or an address
key      = 42
nhs      = [{ nbma = "hub.example.net" }]
shortcut = true

[interface.gre1.ipsec]
identity = "spoke1.example.net"
psk_file = "/etc/cygnet/gre1.psk" # or: certificates, from where swanctl keeps them
`

const hub = `
[interface.gre1]
address  = "10.255.0.1/24"
underlay = "198.51.100.1"
key      = 42
redirect = true

[interface.gre1.ipsec]
identity = "hub.example.net"
psk_file = "/etc/cygnet/gre1.psk"
`

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	cfg, err := Parse([]byte(text), "test.toml")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// A spoke needs no more than this file, and gets the defaults that most sites want.
func TestSmallestSpoke(t *testing.T) {
	key := uint32(42)
	want := &Config{
		Daemon: Daemon{
			APISocket:      "/run/cygnet/cygnet.sock",
			VICISocket:     "/var/run/charon.vici",
			StateDir:       "/var/lib/cygnet",
			MaxInitiations: 32,
		},
		Log: Log{Level: slog.LevelInfo, Levels: map[string]slog.Level{}, Format: FormatText},
		Interfaces: []Interface{{
			Name:         "gre1",
			Address:      netip.MustParsePrefix("10.255.0.11/24"),
			Overlay:      netip.MustParsePrefix("10.255.0.0/24"),
			Underlay:     Underlay{Device: "eth0"},
			Key:          &key,
			TTL:          64,
			MTU:          1400,
			Table:        254,
			HostTable:    84,
			HostRule:     32084,
			UnderlayRule: 100, UnderlayReturn: 30 * time.Second,
			HoldingTime: 10 * time.Minute,
			IdleTime:    5 * time.Minute,

			FallbackDelay: 30 * time.Second,
			Paths:         Paths{Prove: true, Timeout: 3 * time.Second},

			Shortcut:  true,
			Admission: true,
			NHS:       []NHS{{NBMA: "hub.example.net"}},
			Limits: Limits{
				Bindings: 10000, Prefixes: 10000, Shortcuts: 4096, Answers: 4096, Held: 1024,
				Indications: 1000, Errors: 100, Requests: 100, Transit: 1000, SAs: 32, Links: 1000,
				MulticastPackets: 1000, MulticastBytes: 1_250_000,
			},
			Multicast: Multicast{NHSs: true, Clients: true},
			Protected: true,
			IPsec: &IPsec{
				Identity:       "spoke1.example.net",
				Auth:           AuthPSK,
				PSKFile:        "/etc/cygnet/gre1.psk",
				Proposals:      []string{"aes256gcm16-prfsha384-x25519-ke1_mlkem768", "aes256gcm16-prfsha384-x25519-ecp384", "aes128gcm16-prfsha256-x25519-ecp256"},
				ESPProposals:   []string{"aes256gcm16-x25519-ke1_mlkem768", "aes256gcm16-x25519-ecp384", "aes128gcm16-x25519-ecp256"},
				DPDDelay:       10 * time.Second,
				RekeyTime:      4 * time.Hour,
				ChildRekeyTime: time.Hour,
			},
		}},
	}
	if diff := cmp.Diff(want, mustParse(t, spoke), comparable); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// A hub needs no more than this file.
func TestSmallestHub(t *testing.T) {
	cfg := mustParse(t, hub)
	if len(cfg.Warnings) != 0 {
		t.Errorf("warnings: %q", cfg.Warnings)
	}
	got := cfg.Interfaces[0]
	if got.Underlay != (Underlay{Address: netip.MustParseAddr("198.51.100.1")}) || !got.Redirect ||
		got.Shortcut || !got.Server || !got.Admission || got.SourceCheck {
		t.Errorf("got %+v", got)
	}
}

// Every key takes effect.
func TestEveryKey(t *testing.T) {
	key := uint32(0)
	want := &Config{
		Daemon: Daemon{
			APISocket: "/tmp/a.sock", APIGroup: "adm", APIViewGroup: "users", VICISocket: "/tmp/v.sock",
			StateDir: "/tmp/s", Metrics: "127.0.0.1:9116", MetricsPeers: 8, MaxInitiations: 7,
		},
		Log: Log{Level: slog.LevelWarn, Format: FormatJSON, Levels: map[string]slog.Level{
			"api": slog.LevelError, "config": slog.LevelWarn, "engine": slog.LevelDebug,
			"kernel": slog.LevelInfo, "vici": slog.LevelDebug,
		}},
		Interfaces: []Interface{
			{
				Name:           "a0",
				Address:        netip.MustParsePrefix("2001:db8:1::1/64"),
				Overlay:        netip.MustParsePrefix("2001:db8:1::/64"),
				Underlay:       Underlay{Address: netip.MustParseAddr("198.51.100.1")},
				Key:            &key,
				TTL:            255,
				MTU:            1300,
				Table:          100,
				Metric:         20,
				HostTable:      101,
				HostRule:       999,
				UnderlayTable:  200,
				UnderlayVRF:    "inet",
				UnderlayRule:   99,
				UnderlayReturn: time.Second,
				HoldingTime:    65535 * time.Second,
				IdleTime:       time.Second,
				Authentication: secret.Secret("pass word"),
				Unique:         true,
				Redirect:       true,
				Shortcut:       true,
				Server:         false,
				Admission:      true,
				SourceCheck:    true,
				NHS: []NHS{
					{NBMA: "hub.example.net.", Protocol: netip.MustParseAddr("2001:db8:1::2")},
					{NBMA: "198.51.100.2", Priority: 255, Cluster: 10},
				},
				MaxConnections: map[uint8]int{10: 255},
				FallbackDelay:  time.Hour,
				Maps: []Map{
					{Protocol: netip.MustParseAddr("2001:db8:1::3"), NBMA: netip.MustParseAddr("198.51.100.3")},
				},
				Announce: []netip.Prefix{
					netip.MustParsePrefix("2001:db8:2::/48"),
					netip.MustParsePrefix("2001:db8:3::1/128"),
				},
				Accept: []netip.Prefix{netip.MustParsePrefix("2001:db8:8000::/33")},
				Limits: Limits{
					Bindings: 1, Prefixes: 8, Shortcuts: 2, Answers: 3, Held: 4, Indications: 5,
					Errors: 6, Requests: 7, Transit: 8, SAs: 9, Links: 10,
					MulticastPackets: 10, MulticastBytes: 11,
				},
				Multicast: Multicast{
					Clients: true,
					Routers: []netip.Addr{netip.MustParseAddr("2001:db8:1::3")},
					Allow: []netip.Prefix{
						netip.MustParsePrefix("ff02::/16"), netip.MustParsePrefix("239.0.0.1/32"),
					},
					Deny:  []netip.Prefix{netip.MustParsePrefix("ff02::2/128")},
					Relay: true,
				},
				IfState: true,
				Paths: Paths{
					Prove: true, ProvenOnly: true, SmallerMTU: true, Timeout: time.Minute,
				},
				Protected: true,
				IPsec: &IPsec{
					Identity:       "C=CH, CN=spoke",
					RemoteIdentity: "C=CH, CN=*",
					Auth:           AuthCertificate,
					Certs:          []string{"spoke.pem"},
					CACerts:        []string{"ca.pem", "/etc/ca2.pem"},
					Proposals:      []string{"aes128-sha256-x25519"},
					ESPProposals:   []string{"aes128gcm16"},
					DPDDelay:       time.Second,
					RekeyTime:      30 * time.Minute,
					ChildRekeyTime: 7 * 24 * time.Hour,
					Connection: map[string]any{
						"mobike": "no", "if_id_in": "7", "pools": []string{"a", "1"},
						"local": map[string]any{"round": "1"},
					},
					Child: map[string]any{"copy_df": "yes"},
				},
			},
			{
				Name:           "b0",
				Address:        netip.MustParsePrefix("10.0.0.1/32"),
				Overlay:        netip.MustParsePrefix("10.0.0.0/30"),
				Underlay:       Underlay{Device: "eth0"},
				TTL:            64,
				MTU:            1400,
				Table:          254,
				HostTable:      84,
				HostRule:       32084,
				UnderlayRule:   100,
				UnderlayReturn: 30 * time.Second,
				HoldingTime:    10 * time.Minute,
				IdleTime:       5 * time.Minute,

				FallbackDelay: 30 * time.Second,
				Paths:         Paths{Prove: true, Timeout: 3 * time.Second},

				Server:    true,
				Limits:    defaultLimits(),
				Multicast: Multicast{NHSs: true, Clients: true},
			},
		},
		Warnings: []string{
			`test.toml:38: interface.a0.authentication: the password has 9 characters, and Cisco routers take no more than 8`,
			`test.toml:42: interface.a0.server: found false beside accept: no router can register here, and so none can announce anything; remove one of the two`,
			`test.toml:94: interface.b0.protection: b0 is not protected: GRE and NHRP go over the underlay in clear, and anybody can register and forge`,
		},
	}
	got := mustParse(t, `
[daemon]
api_socket = "/tmp/a.sock"
api_group = "adm"
api_view_group = "users"
vici_socket = "/tmp/v.sock"
state_dir = "/tmp/s"
metrics = "127.0.0.1:9116"
metrics_peers = 8
max_initiations = 7
[log]
level = "warn"
format = "json"
[log.levels]
api = "error"
config = "warn"
engine = "debug"
kernel = "info"
vici = "debug"

[interface.a0]
address = "2001:db8:1::1/64"
underlay = "198.51.100.1"
key = 0
ttl = 255
mtu = 1300
table = 100
metric = 20
host_table = 101
underlay_table = 200
underlay_vrf = "inet"
underlay_rule = 99
underlay_return = "1s"
host_rule = 999
holding_time = "65535s"
idle_time = "1s"

authentication = "pass word"
unique = true
redirect = true
shortcut = true
server = false
source_check = true
nhs = [
  { nbma = "HUB.example.net.", protocol = "2001:db8:1::2" },
  { nbma = "198.51.100.2", priority = 255, cluster = 10 }, # comma at the end
]
nhs_cluster = [{ cluster = 10, max_connections = 255 }]
fallback_delay = "1h"
map = [{ protocol = "2001:db8:1::3", nbma = "198.51.100.3" }]
announce = ["2001:db8:2::/48", "2001:db8:3::1/128"]
accept = ["2001:db8:8000::/33"]
multicast = ["clients", "2001:db8:1::3"]
multicast_allow = ["ff02::/16", "239.0.0.1"]
multicast_deny = ["ff02::2"]
multicast_relay = true
if_state = true
prove_paths = "only"
path_timeout = "1m"
large_packets = "smaller_mtu"
protection = "ipsec"
[interface.a0.limits]
bindings = 1
prefixes = 8
shortcuts = 2
answers = 3
held = 4
indications = 5
errors = 6
requests = 7
transit = 8
sas = 9
links = 10
multicast_packets = 10
multicast_bytes = 11
[interface.a0.ipsec]
identity = "C=CH, CN=spoke"
remote_identity = "C=CH, CN=*"
certificates = ["spoke.pem"]
ca = ["ca.pem", "/etc/ca2.pem"]
proposals = ["aes128-sha256-x25519"]
esp_proposals = ["aes128gcm16"]
dpd_delay = "1s"
rekey_time = "30m"
child_rekey_time = "168h"
connection = { mobike = false, if_id_in = 7, pools = ["a", 1], local = { round = 1 } }
child = { copy_df = true }

[interface.b0]
admission = false
address = "10.0.0.1/32"
overlay = "10.0.0.0/30"
underlay = "eth0"
protection = "none"
`)
	if diff := cmp.Diff(want, got, comparable); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// A subsystem without a level of its own logs at the general level.
func TestLevelOf(t *testing.T) {
	l := mustParse(t, "log.level = \"error\"\nlog.levels.engine = \"debug\"").Log
	if l.LevelOf("engine") != slog.LevelDebug || l.LevelOf("vici") != slog.LevelError {
		t.Errorf("engine %v, vici %v", l.LevelOf("engine"), l.LevelOf("vici"))
	}
}
