//go:build lab

package contrib

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// sites are a hub and two spokes with the addresses of the examples. Each has a LAN, and each
// spoke's LAN has a host.
type sites struct {
	*lab.Net
	hub, spoke1, spoke2 *lab.Router
	host1, host2        *lab.Host
}

// newSites makes the routers and hosts. No daemon runs on them yet.
func newSites(t *testing.T) *sites { return newSitesNAT(t, false) }

// newSitesIPv6 is newSites with an underlay of IPv6 only, in which toIPv6 has the addresses.
func newSitesIPv6(t *testing.T) *sites {
	t.Helper()
	s := &sites{Net: lab.New(t)}
	s.hub = s.Router("hub", lab.Addr("2001:db8::1/64"), lab.LAN("172.16.0.1/24"))
	s.spoke1 = s.Router("spoke1", lab.Addr("2001:db8::11/64"), lab.LAN("172.16.1.1/24"))
	s.spoke2 = s.Router("spoke2", lab.Addr("2001:db8::12/64"), lab.LAN("172.16.2.1/24"))
	s.host1, s.host2 = s.spoke1.Host("host1"), s.spoke2.Host("host2")
	return s
}

// toIPv6 turns the hub's underlay address in the examples into that of newSitesIPv6.
var toIPv6 = strings.NewReplacer(`"198.51.100.1"`, `"2001:db8::1"`)

// newSitesNAT is newSites with spoke2 behind NAT or not.
func newSitesNAT(t *testing.T, nat bool) *sites {
	t.Helper()
	s := &sites{Net: lab.New(t)}
	s.hub = s.Router("hub", lab.Addr("198.51.100.1/24"), lab.LAN("172.16.0.1/24"))
	s.spoke1 = s.Router("spoke1", lab.Addr("198.51.100.11/24"), lab.LAN("172.16.1.1/24"))
	second := []lab.RouterOption{lab.Addr("198.51.100.12/24"), lab.LAN("172.16.2.1/24")}
	if nat {
		box := s.NAT("nat", "198.51.100.12/24", "192.168.7.1/24")
		second = append(second, lab.Addr("192.168.7.2/24"), lab.BehindNAT(box))
	}
	s.spoke2 = s.Router("spoke2", second...)
	s.host1, s.host2 = s.spoke1.Host("host1"), s.spoke2.Host("host2")
	return s
}

// each calls f for every router with the name of the router's example, and with a replacer that
// turns the example, which is written for spoke1, into the router's own configuration.
func (s *sites) each(f func(r *lab.Router, role string, own *strings.Replacer)) {
	f(s.hub, "hub", strings.NewReplacer())
	f(s.spoke1, "spoke", strings.NewReplacer())
	f(s.spoke2, "spoke", strings.NewReplacer("10.255.0.11", "10.255.0.12", "spoke1", "spoke2"))
}

// awaitMesh waits until both spokes are registered and traffic between them goes the direct way. It
// fails the test if a GRE packet crossed the underlay without IPsec.
func (s *sites) awaitMesh(t *testing.T) {
	t.Helper()
	for _, r := range []*lab.Router{s.spoke1, s.spoke2} {
		s.Await(r.Name+" is registered", 60*time.Second, func() error {
			return state(r, "nhs", "registered")
		})
	}
	s.Await("the hosts reach each other", 60*time.Second, func() error {
		return s.host1.Reaches(s.host2.Addr)
	})
	direct := netip.MustParseAddr("10.255.0.12")
	s.Await("the direct way", 30*time.Second, func() error {
		if err := s.host1.Reaches(s.host2.Addr); err != nil {
			return err
		}
		return lab.True(s.spoke1.NextHop(s.host2.Addr) == direct,
			"the next hop is %s", s.spoke1.NextHop(s.host2.Addr))
	})
	if n := s.Underlay.Count(lab.OfKind(lab.GRE)); n > 0 {
		t.Errorf("%d packets of clear GRE on the underlay", n)
	}
}

// awaitRoutes waits until a routing daemon has given each spoke the one route to all sites, and the
// hub the routes of both sites. The kernel shows the daemon's routes with this protocol.
func (s *sites) awaitRoutes(protocol string) {
	s.Helper()
	const all = "172.16.0.0/12"
	want := map[*lab.Router][]string{
		s.hub: {"172.16.1.0/24", "172.16.2.0/24"}, s.spoke1: {all}, s.spoke2: {all},
	}
	for r, prefixes := range want {
		for _, prefix := range prefixes {
			s.Await("BGP gives "+r.Name+" the route to "+prefix, 90*time.Second, func() error {
				for _, route := range r.Routes(all) {
					if route.Dst == prefix && route.Protocol == protocol {
						return nil
					}
				}
				return fmt.Errorf("no route to %s by BGP: %v", prefix, r.Routes(all))
			})
		}
	}
}

// state returns nil if one of cygnet's lists has entries and all of them are in a state. Otherwise
// it returns an error.
func state(r *lab.Router, list, want string) error {
	var entries []struct{ State string }
	if err := r.CygnetJSON(&entries, list); err != nil {
		return err
	}
	for _, e := range entries {
		if e.State != want {
			return fmt.Errorf("%s: %s", list, e.State)
		}
	}
	return lab.True(len(entries) > 0, "%s is empty", list)
}

// The examples for a PSK, FRR and charon's settings work together as they are: BGP over the tunnel
// brings the route to all sites, and a shortcut beneath that route brings the direct way.
func TestExamplesWithKeyAndFRR(t *testing.T) {
	s := newSites(t)
	s.each(func(r *lab.Router, role string, own *strings.Replacer) {
		r.DebianCharon(read(t, "swanctl/charon-cygnet.conf"))
		r.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key that the routers of a test share\n")
		r.Cygnetd(own.Replace(read(t, "cygnet/"+role+".toml")))
		r.IntegratedFRR(own.Replace(read(t, "frr/"+role+".conf")), "bgpd")
	})
	s.awaitRoutes("bgp")
	s.awaitMesh(t)

	// BGP announces a route of the site itself that is newer than the shortcut. If BGP announced
	// shortcuts, it would have announced the shortcut by then.
	s.spoke1.IP("route add 172.16.101.0/24 via " + s.host1.Addr.String() + " dev lan0")
	s.Await("the hub has the new route of the first site", 60*time.Second, func() error {
		return lab.True(
			strings.Contains(s.hub.Run("vtysh", "-c", "show ip bgp"), "172.16.101.0/24"),
			"not announced")
	})
	for site, announcer := range map[string]string{
		"172.16.1.0/24": "10.255.0.11",
		"172.16.2.0/24": "10.255.0.12",
	} {
		paths := s.hub.Run("vtysh", "-c", "show ip bgp "+site)
		if !strings.Contains(paths, "Paths: (1 available") ||
			!strings.Contains(paths, announcer+" from "+announcer) {
			t.Errorf("%s is announced by others than %s: a shortcut?\n%s", site, announcer, paths)
		}
	}
}

// The examples for certificates and BIRD work together as they are, with the certificates that
// make-certificates makes. Stock swanctl loads the certificates, the routers prove their
// identities, BGP brings the route to all sites, and a shortcut comes up.
func TestExamplesWithCertificatesAndBIRD(t *testing.T) {
	folder := t.TempDir()
	script, err := filepath.Abs("swanctl/make-certificates")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script, "hub.example.net", "spoke1.example.net", "spoke2.example.net")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make-certificates: %v\n%s", err, out)
	}
	s := newSites(t)
	s.each(func(r *lab.Router, role string, own *strings.Replacer) {
		r.DebianCharon(read(t, "swanctl/charon-cygnet.conf"))
		for from, to := range map[string]string{
			"example-ca.pem":             "x509ca/example-ca.pem",
			"x509/" + r.Name + ".pem":    "x509/" + r.Name + ".pem",
			"private/" + r.Name + ".pem": "private/" + r.Name + ".pem",
		} {
			r.Run("mkdir", "-p", filepath.Dir("/etc/swanctl/"+to))
			r.WriteFile("/etc/swanctl/"+to, 0o600,
				read(t, filepath.Join(folder, "pki", from)))
		}
		r.Run("mkdir", "-p", "/etc/swanctl/conf.d")
		r.WriteFile("/etc/swanctl/conf.d/cygnet.conf", 0o600,
			own.Replace(read(t, "swanctl/cygnet.conf")))
		r.WriteFile("/etc/swanctl/swanctl.conf", 0o600, "include conf.d/*.conf\n")
		r.Run("swanctl", "--load-all", "--noprompt")
		if authorities := r.Run("swanctl", "--list-authorities"); !strings.Contains(
			authorities,
			"Example DMVPN authority",
		) {
			t.Errorf("%s: authorities:\n%s", r.Name, authorities)
		}
		if threads := r.Run("swanctl", "--stats"); !strings.Contains(
			threads,
			"worker threads: 32 total",
		) {
			t.Errorf("%s: the settings of charon-cygnet.conf are not in force:\n%s",
				r.Name, threads)
		}
		r.Cygnetd(own.Replace(read(t, "swanctl/"+role+".toml")))
	})
	s.each(func(r *lab.Router, role string, own *strings.Replacer) {
		startBIRD(r, own.Replace(read(t, "bird/"+role+".conf")))
	})
	s.awaitRoutes("bird")
	s.awaitMesh(t)

	var peers []struct{ NBMA, Identity string }
	if err := s.spoke1.CygnetJSON(&peers, "peers"); err != nil {
		t.Fatal(err)
	}
	proven := map[string]string{}
	for _, p := range peers {
		proven[p.NBMA] = p.Identity
	}
	for nbma, identity := range map[string]string{
		"198.51.100.1":  "hub.example.net",
		"198.51.100.12": "spoke2.example.net",
	} {
		if proven[nbma] != identity {
			t.Errorf("%s proves to be %q, want %q", nbma, proven[nbma], identity)
		}
	}
}

// The kernel takes every setting of the example for sysctl, and shows the same value afterwards.
func TestSysctlOnAKernel(t *testing.T) {
	text := read(t, "sysctl/60-cygnet.conf")
	out, err := exec.Command("sysctl", "-p", "sysctl/60-cygnet.conf").CombinedOutput()
	if err != nil {
		t.Fatalf("sysctl: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(text, strings.TrimSpace(line)+"\n") {
			t.Errorf("sysctl says %q", line)
		}
		key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		have, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
		if err != nil || strings.TrimSpace(string(have)) != value {
			t.Errorf("%s is %q, %v", key, have, err)
		}
	}
}
