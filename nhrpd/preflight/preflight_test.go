package preflight

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/kernel"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/sysctl"
	"cygnet/nhrpd/config"
)

// now is the time of these tests.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// host returns a host in a folder of its own, and the folder. Nothing is wrong with the host.
func host(t *testing.T) (Host, string) {
	t.Helper()
	dir := t.TempDir()
	h := Host{
		StrongswanConf: filepath.Join(dir, "strongswan.conf"),
		Swanctl:        filepath.Join(dir, "swanctl"),
		Now:            now,
		Sysctls:        func(sysctl.CheckConfig) []sysctl.Advice { return nil },
		Probe: func(bool) ([]kernel.Feature, error) {
			return []kernel.Feature{{Name: "GRE"}}, nil
		},
		Links: func() ([]Link, error) { return usual, nil },
		Group: func(string) error { return nil },
		IPv6:  func() bool { return true },
	}
	write(t, h.StrongswanConf, good)
	return h, dir
}

// good are settings of charon for which there is no finding.
const good = `charon {
	install_routes = no
	retransmit_tries = 4
	retransmit_timeout = 1.0
	retransmit_base = 1.4
	threads = 32
	ikesa_table_size = 4096
	ikesa_table_segments = 16
	block_threshold = 0
	cookie_threshold = 500
}
`

// write writes a file, and makes its folder.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(
		os.MkdirAll(filepath.Dir(path), 0o700),
		os.WriteFile(path, []byte(text), 0o600),
	); err != nil {
		t.Fatal(err)
	}
}

// parse parses a configuration.
func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse([]byte(text), "cygnet.toml")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The configurations of a hub, of a spoke, and of a router without IPsec.
const (
	hubText = `
[interface.gre1]
address  = "10.255.0.1/24"
underlay = "198.51.100.1"
redirect = true
[interface.gre1.ipsec]
identity = "hub.example.net"
psk_file = "/etc/cygnet/gre1.psk"
`
	spokeText = `
[interface.gre1]
address  = "10.255.0.11/24"
underlay = "eth0"
nhs      = [{ nbma = "hub.example.net" }]
[interface.gre1.ipsec]
identity = "spoke1.example.net"
psk_file = "/etc/cygnet/gre1.psk"
`
	clearText = `
[interface.gre1]
address    = "10.255.0.11/24"
underlay   = "eth0"
protection = "none"
`
)

// texts returns the findings as the user reads them, with DIR in the place of the host's folder.
func texts(found []Finding, dir string) []string {
	var all []string
	for _, f := range found {
		all = append(all, strings.ReplaceAll(f.String(), dir, "DIR"))
	}
	return all
}

// want compares the findings with the wanted ones, each of which has to begin as given.
func want(t *testing.T, found []Finding, dir string, beginnings ...string) {
	t.Helper()
	got := texts(found, dir)
	cut := append([]string(nil), got...)
	for i := range cut {
		if i < len(beginnings) && strings.HasPrefix(cut[i], beginnings[i]) {
			cut[i] = beginnings[i]
		}
	}
	if diff := cmp.Diff(beginnings, cut); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Where nothing is wrong there is no finding. What an interface does not need is not checked.
func TestAllIsWell(t *testing.T) {
	h, dir := host(t)
	for _, text := range []string{hubText, spokeText, "", clearText} {
		want(t, h.Check(parse(t, text)), dir)
	}
	h.StrongswanConf = dir + "/none"
	h.Probe = func(bool) ([]kernel.Feature, error) {
		return []kernel.Feature{{
			Name:    "ESP",
			Lacking: errors.New("no module"),
			Without: "nothing works",
			IPsec:   true,
		}}, nil
	}
	want(t, h.Check(parse(t, clearText)), dir)
}

// A finding tells what the kernel lacks, what follows from that, and what to do. If the check needs
// root, a finding tells that it was not done.
func TestKernel(t *testing.T) {
	h, dir := host(t)
	h.Probe = func(bool) ([]kernel.Feature, error) {
		return []kernel.Feature{
			{Name: "multipoint GRE", Lacking: rtnl.ErrNoGRE, Without: "nothing works"},
			{Name: "ESP"},
		}, nil
	}
	h.Sysctls = func(c sysctl.CheckConfig) []sysctl.Advice {
		if c != (sysctl.CheckConfig{Peers: 512, Forwards: true}) {
			t.Errorf("asked about %+v", c)
		}
		return []sysctl.Advice{{
			Sysctl: "net.ipv4.ip_forward",
			Have:   "0",
			Want:   "1",
			Why:    "nothing is forwarded",
		}}
	}
	want(t, h.Check(parse(t, spokeText)), dir,
		"kernel: no multipoint GRE, so nothing works: the kernel has no GRE tunnels: load the module",
		"kernel: net.ipv4.ip_forward is 0: nothing is forwarded (set it to 1 in /etc/sysctl.d)")
	h.Probe = func(bool) ([]kernel.Feature, error) { return nil, rtnl.ErrNoPermission }
	h.Sysctls = func(sysctl.CheckConfig) []sysctl.Advice { return nil }
	want(t, h.Check(parse(t, spokeText)), dir,
		"kernel: what it has was not tried: run this as root")
}

// The probe tries what routers at IPv6 addresses need of the kernel where a tunnel can send over
// IPv6. What is missing is an error if the tunnel has to send over IPv6, because of its
// configuration or because a device has no IPv4 address. It is advice if the tunnel may never meet
// such a router.
func TestKernelForIPv6(t *testing.T) {
	const (
		ebpf = "kernel: no eBPF, so routers at IPv6 addresses cannot be reached; " +
			"besides, all is slow: no syscall"
		gre  = "kernel: no GRE over IPv6, so routers at IPv6 addresses cannot be reached: no module"
		less = "advice: kernel: no eBPF, so all is slow: no syscall"
	)
	at6 := strings.Replace(spokeText, "hub.example.net", "2001:db8::2", 1)
	for _, test := range []struct {
		name, config string
		off          bool // IPv6 is switched off in the kernel
		tried        bool // what routers at IPv6 addresses need
		want         []string
	}{
		{"a device of both IP versions", spokeText, false, true,
			[]string{"advice: " + ebpf, "advice: " + gre}},
		{"a device of IPv6 only", strings.Replace(spokeText, "eth0", "eth6", 1), false, true,
			[]string{"error: " + ebpf, "error: " + gre}},
		{"a reserve of IPv6 only", strings.Replace(spokeText, `"eth0"`, `["eth1", "eth6"]`, 1),
			false, true, []string{"error: " + ebpf, "error: " + gre}},
		{"an NHS at an IPv6 address", at6, false, true,
			[]string{"error: " + ebpf, "error: " + gre}},
		{"an IPv6 address", strings.Replace(hubText, "198.51.100.1", "2001:db8::1", 1), false, true,
			[]string{"error: " + ebpf, "error: " + gre}},
		{"a device of IPv4 only", strings.Replace(spokeText, "eth0", "eth1", 1), false, false,
			[]string{less}},
		{"an IPv4 address", hubText, false, false, []string{less}},
		{"without IPsec", clearText, false, false, []string{less}},
		{"IPv6 is off, and nothing needs it", hubText, true, false, []string{less}},
		{"IPv6 is off, and an NHS has it", at6, true, false, []string{
			"error: kernel: IPv6 is switched off, " +
				"so routers at IPv6 addresses cannot be reached: boot it without ipv6.disable=1, " +
				"or give IPv4 addresses for the underlay and the other routers",
			"error: " + ebpf,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, _ := host(t)
			h.IPv6 = func() bool { return !test.off }
			tried := false
			h.Probe = func(overIPv6 bool) ([]kernel.Feature, error) {
				tried = overIPv6
				all := []kernel.Feature{
					{
						Name:    "eBPF",
						Lacking: errors.New("no syscall"),
						Without: "all is slow",
						IPv6:    true,
					},
					{Name: "marks", Without: "no NAT", IPsec: true, IPv6: true},
				}
				if overIPv6 {
					all = append(all, kernel.Feature{
						Name: "GRE over IPv6", Lacking: errors.New("no module"), IPv6: true,
					})
				}
				return all, nil
			}
			var got []string
			for _, f := range h.kernel(parse(t, test.config)) {
				got = append(got, string(f.Severity)+": "+f.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
			if tried != test.tried {
				t.Errorf("the probe tried what IPv6 needs: %t, want %t", tried, test.tried)
			}
		})
	}
}

// charon's settings are found wherever they are. For each fault, a finding tells what it means and
// what to set.
func TestStrongswan(t *testing.T) {
	for _, test := range []struct {
		name, text, config string
		want               []string
	}{
		{"as Debian ships it, on a hub", "charon {\n load_modular = yes\n}\n", hubText, []string{
			"strongSwan: a peer of gre1 that died is noticed after 2m55s, with traffic to it lost until then: set retransmit_tries = 4, retransmit_timeout = 1.0 and retransmit_base = 1.4",
			"strongSwan: charon is set up for few peers, and many that come back at once are refused or wait: set threads = 32 (it is 16), ikesa_table_size = 4096 (it is 1), ikesa_table_segments = 16 (it is 1), block_threshold = 50 (it is 5), cookie_threshold = 500 (it is 10) in charon { … }",
			"strongSwan: charon installs routes of its own beside the daemon's: set install_routes = no",
		}},
		{"as Debian ships it, on a spoke",
			"charon {\n load_modular = yes\n}\n", spokeText, []string{
				"strongSwan: a peer of gre1 that died is noticed after 2m55s",
			}},
		{"in the section of charon-systemd",
			good + "charon-systemd {\n threads = 4\n}\n", hubText, []string{
				"strongSwan: charon is set up for few peers, and many that come back at once are refused or wait: set threads = 32 (it is 4) in",
			}},
		{"a limit for each retransmission", "charon {\n retransmit_limit = 5\n}\n", spokeText, nil},
		{"another socket",
			good + "charon {\n plugins {\n  vici {\n   socket = unix:///run/other.vici\n  }\n }\n}\n",
			spokeText, []string{
				`strongSwan: charon listens for VICI at /run/other.vici (DIR/strongswan.conf:15), and the daemon looks at /var/run/charon.vici: set vici_socket = "/run/other.vici" in [daemon]`,
			}},
		{"the same socket by another name",
			good + "charon {\n plugins {\n  vici {\n   socket = unix:///run/charon.vici\n  }\n }\n}\n",
			spokeText, nil},
		{"a socket of the network",
			good + "charon {\n plugins {\n  vici {\n   socket = tcp://127.0.0.1:4502\n  }\n }\n}\n",
			spokeText, []string{
				`strongSwan: charon listens for VICI at "tcp://127.0.0.1:4502" (DIR/strongswan.conf:15), which the daemon does not speak`,
			}},
		{"no vici plugin", good +
			"charon {\n load_modular = yes\n plugins {\n  vici {\n   load = no\n  }\n }\n}\n",
			spokeText, []string{
				"strongSwan: the vici plugin is off (DIR/strongswan.conf:16), and nothing can be secured without it",
			}},
		{"a list without it", good + "charon {\n load = aes sha2 stroke\n}\n", spokeText, []string{
			"strongSwan: charon loads no vici plugin (DIR/strongswan.conf:13), and nothing can be secured without it",
		}},
		{"a list with it", good + "charon {\n load = aes sha2 vici!\n}\n", spokeText, nil},
		{"what charon cannot read either", "charon {\n", spokeText, []string{
			`strongSwan: charon's settings cannot be read: DIR/strongswan.conf:1: the section "charon" is not closed`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, dir := host(t)
			write(t, h.StrongswanConf, test.text)
			want(t, h.Check(parse(t, test.config)), dir, test.want...)
		})
	}
	h, dir := host(t)
	h.StrongswanConf = dir + "/none"
	want(t, h.Check(parse(t, spokeText)), dir,
		"strongSwan: there is no DIR/none: install strongSwan's charon and swanctl")
}
