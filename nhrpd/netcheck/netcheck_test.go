package netcheck

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files from what the package returns")

// addr returns an address.
func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// tunnel returns an interface with all good, that has these NHSs.
func tunnel(servers ...Server) Tunnel {
	return Tunnel{Interface: "gre1", Up: true, Protected: true, MTU: 1400, OuterDF: "never",
		Device: "eth0", Address: addr("192.0.2.12"), UnderlayMTU: 1500, FitMTU: 1430,
		Certificates: []Certificate{}, Servers: servers}
}

// server returns an NHS with all good.
func server() Server {
	return Server{
		Name: "hub.example.net", Address: addr("198.51.100.1"), Protocol: addr("10.255.0.1"),
		State: "registered", Use: "in use",
		Resolved: &Resolved{IPv4: []netip.Addr{addr("198.51.100.1")},
			IPv6: []netip.Addr{addr("2001:db8::1")}, Seconds: 0.0123,
			Resolvers: []string{"127.0.0.53"}, Used: []netip.Addr{addr("198.51.100.1")}},
		Way: &Way{Device: "eth0", Source: addr("192.0.2.12"), Gateway: addr("192.0.2.254"),
			Prefix: netip.MustParsePrefix("0.0.0.0/0"), Table: 254, MTU: 1500},
		Ports: ports(Answered, Answered),
		NAT: &NAT{Own: addr("192.0.2.12"), Seen: addr("192.0.2.12"), SA: true,
			Others: []netip.Addr{}},
		ESP: &ESP{SA: true, In: 2 << 20, Out: 3 << 20, NewIn: 1488, NewOut: 1480, KernelIn: 1,
			KernelOut: 1, Probed: true},
		Size: &Size{MTU: 1400, Passed: 1400, Packets: 2, Seconds: 0.0204},
	}
}

// ports returns what the two ports of IKE did.
func ports(first, second string) []Port {
	all := []Port{{Port: 500, Outcome: first}, {Port: 4500, Outcome: second}}
	for n := range all {
		if all[n].Outcome == Answered {
			all[n].Seconds = 0.0181
		}
	}
	return all
}

// lost returns a measurement without an answer.
func lost() *Size { return &Size{MTU: 1400, Packets: 3} }

// report returns a report of a router where all is good but perhaps its interface.
func report(tunnels ...Tunnel) *Report {
	return &Report{Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		File: "/etc/cygnet/cygnet.toml", Charon: Charon{Needed: true, Version: "5.9.8"},
		Clock: Clock{Synchronized: true}, Tunnels: tunnels}
}

// faulty returns a report of a router without its daemon, with a firewall on the way to one NHS,
// and with NAT, a small path and a wrong name on the way to others.
func faulty() *Report {
	closed, small := server(), server()
	closed.Name, closed.Resolved = "198.51.100.1", nil
	closed.State, closed.Error = "securing", "no answer from 198.51.100.1"
	closed.Ports = ports(Silent, Silent)
	closed.NAT = &NAT{Own: addr("192.0.2.12"), Others: []netip.Addr{}}
	closed.ESP = &ESP{}
	closed.Size = &Size{Error: "it has no SA, so that nothing could be sent"}
	small.Name, small.Address = "hub2.example.net", addr("198.51.100.2")
	small.NAT = &NAT{Own: addr("192.0.2.12"), Seen: addr("203.0.113.7"), Local: true, SA: true,
		Others: []netip.Addr{addr("203.0.113.8")}}
	small.ESP.InUDP, small.ESP.KernelUDP = true, true
	small.Size = &Size{MTU: 1400, Passed: 1230, Lost: 1231, Packets: 52, Seconds: 0.0204}
	nameless := Server{Name: "hub3.exmple.net", Ports: []Port{}, State: "unresolved",
		Resolved: &Resolved{Error: "lookup hub3.exmple.net: no such host", Seconds: 0.004}}
	t := tunnel(closed, small, nameless)
	t.OuterDF = "always"
	t.Certificates = []Certificate{{Wrong, "the certificate spoke.pem expired on 2026-02-28"}}
	r := report(t)
	r.DaemonError = "cygnetd is not running: there is no socket at /run/cygnet/cygnet.sock"
	r.Clock.Synchronized = false
	return r
}

// hub returns a report of a hub, which has clients and no NHS.
func hub() *Report {
	t := tunnel()
	t.Clients, t.ClientsNAT, t.Servers = 40, 31, []Server{}
	return report(t)
}

// The text and the JSON are those of the golden files.
func TestGolden(t *testing.T) {
	for name, r := range map[string]*Report{
		"good": report(tunnel(server())), "faulty": faulty(), "hub": hub(),
	} {
		Judge(r)
		golden(t, name+".txt", strings.Join(Lines(r), "\n")+"\n")
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", string(text)+"\n")
	}
}

// golden compares with a golden file.
func golden(t *testing.T, name, have string) {
	t.Helper()
	file := "testdata/" + name
	if *update {
		if err := os.WriteFile(file, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), have); diff != "" {
		t.Errorf("%s: want (-), have (+):\n%s", name, diff)
	}
}

// Each fault of a way to an NHS has its verdict and says what it is.
func TestVerdictsOfServers(t *testing.T) {
	for _, test := range []struct {
		name  string
		about string
		make  func(t *Tunnel, s *Server)
		want  Verdict
		words string
	}{
		{"a name without an address", AboutName, func(_ *Tunnel, s *Server) {
			s.Resolved = &Resolved{Error: "no such host"}
		}, Wrong, "no such host"},
		{"a name that had one", AboutName, func(_ *Tunnel, s *Server) {
			s.Resolved.IPv4, s.Resolved.IPv6 = nil, nil
		}, Look, "goes on with 198.51.100.1"},
		{"only addresses of the other IP version", AboutName, func(_ *Tunnel, s *Server) {
			s.Resolved.IPv4 = nil
		}, Wrong, "none that the tunnel can send to"},
		{"the daemon has another address", AboutName, func(_ *Tunnel, s *Server) {
			s.Resolved.Used = []netip.Addr{addr("198.51.100.9")}
		}, Look, "198.51.100.9, which is not among them"},
		{"a slow resolver", AboutName, func(_ *Tunnel, s *Server) {
			s.Resolved.Seconds = 4.01
		}, Look, "after 4.0 s"},
		{"no route", AboutRoute, func(_ *Tunnel, s *Server) {
			s.Way = &Way{Error: "no route to 198.51.100.1"}
		}, Wrong, "no route"},
		{"a route into the tunnel", AboutRoute, func(_ *Tunnel, s *Server) {
			s.Way.Device, s.Way.Tunnel = "gre1", true
		}, Wrong, "leads into a tunnel"},
		{"a route over another device", AboutRoute, func(_ *Tunnel, s *Server) {
			s.Way.Device = "wwan0"
		}, Look, "the tunnel's address is on eth0"},
		{"a route with an MTU", AboutRoute, func(_ *Tunnel, s *Server) {
			s.Way.PathMTU = 1300
		}, Good, "and the route 1300"},
		{"nothing listens", AboutIKE, func(_ *Tunnel, s *Server) {
			s.Ports = ports(Refused, Refused)
		}, Wrong, "no IKE daemon listens"},
		{"a firewall, and an SA", AboutIKE, func(_ *Tunnel, s *Server) {
			s.Ports = ports(Silent, Silent)
		}, Look, "there is an SA"},
		{"a firewall, and no SA", AboutIKE, func(_ *Tunnel, s *Server) {
			s.Ports, s.ESP = ports(Silent, Silent), &ESP{}
		}, Wrong, "nothing comes back"},
		{"only port 4500", AboutIKE, func(_ *Tunnel, s *Server) {
			s.Ports, s.ESP = ports(Silent, Answered), &ESP{}
		}, Wrong, "IKE begins at port 500"},
		{"only port 500, and NAT", AboutIKE, func(_ *Tunnel, s *Server) {
			s.Ports, s.NAT.Local = ports(Answered, Silent), true
		}, Wrong, "needs port 4500"},
		{"only port 500", AboutIKE, func(_ *Tunnel, s *Server) {
			s.Ports = ports(Answered, Silent)
		}, Look, "port 4500 is SILENT"},
		{"unreachable", AboutIKE, func(_ *Tunnel, s *Server) {
			s.Ports, s.ESP = ports(Unreachable, Unreachable), &ESP{}
		}, Wrong, "port 500: UNREACHABLE"},
		{"NAT, one NHS", AboutNAT, func(_ *Tunnel, s *Server) {
			s.NAT.Seen, s.NAT.Local = addr("203.0.113.7"), true
		}, Good, "a second NHS would tell"},
		{"NAT, the same to all", AboutNAT, func(_ *Tunnel, s *Server) {
			s.NAT.Seen, s.NAT.Others = addr("203.0.113.7"), []netip.Addr{addr("203.0.113.7")}
		}, Good, "2 NHSs see 203.0.113.7"},
		{"NAT, not the same to all", AboutNAT, func(_ *Tunnel, s *Server) {
			s.NAT.Seen, s.NAT.Others = addr("203.0.113.7"), []netip.Addr{addr("203.0.113.8")}
		}, Look, "depends on who is addressed"},
		{"NAT by IKE alone", AboutNAT, func(_ *Tunnel, s *Server) {
			s.NAT.Seen, s.NAT.Local = netip.Addr{}, true
		}, Good, "is behind NAT"},
		{"ports alone are changed", AboutNAT, func(_ *Tunnel, s *Server) {
			s.NAT.Local = true
		}, Good, "a NAT that changes ports"},
		{"the NHS behind NAT", AboutNAT, func(_ *Tunnel, s *Server) {
			s.NAT.Remote = true
		}, Good, "the NHS is behind NAT"},
		{"nobody told of NAT", AboutNAT, func(_ *Tunnel, s *Server) {
			s.NAT = &NAT{Own: addr("192.0.2.12")}
		}, Unknown, "not known"},
		{"no SA", AboutESP, func(_ *Tunnel, s *Server) {
			s.ESP = &ESP{Error: "authentication failed"}
		}, Wrong, "authentication failed"},
		{"no SA with a reserve", AboutESP, func(_ *Tunnel, s *Server) {
			s.ESP, s.Use = &ESP{}, "reserve"
		}, Good, "left alone"},
		{"ESP is dropped", AboutESP, func(_ *Tunnel, s *Server) {
			s.ESP.NewIn, s.State = 0, "registering"
			s.Size = lost()
		}, Wrong, "encap"},
		{"ESP in UDP is dropped", AboutESP, func(_ *Tunnel, s *Server) {
			s.ESP.InUDP, s.ESP.KernelUDP, s.ESP.NewIn, s.ESP.In = true, true, 0, 0
			s.Size = lost()
		}, Wrong, "let UDP 4500 pass"},
		{"nothing comes back, and this router is registered", AboutESP,
			func(_ *Tunnel, s *Server) {
				s.ESP.NewIn, s.Size = 0, lost()
			}, Look, "cygnet register now"},
		{"the counters are old", AboutESP, func(_ *Tunnel, s *Server) {
			s.ESP.NewIn, s.ESP.NewOut = 0, 0
		}, Good, "arrives both ways"},
		{"nothing leaves", AboutESP, func(_ *Tunnel, s *Server) {
			s.ESP.NewIn, s.ESP.NewOut = 0, 0
			s.Size = lost()
		}, Wrong, "did not leave"},
		{"the kernel has other states", AboutESP, func(_ *Tunnel, s *Server) {
			s.ESP.KernelUDP = true
		}, Look, "say otherwise"},
		{"nothing was sent", AboutESP, func(_ *Tunnel, s *Server) {
			s.ESP, s.Size = &ESP{SA: true}, &Size{Error: "only cygnetd can"}
		}, Unknown, "nothing was sent"},
		{"a small path and fragments", AboutMTU, func(_ *Tunnel, s *Server) {
			s.Size.Passed, s.Size.Lost = 1300, 1301
		}, Wrong, "fragments seem to be lost"},
		{"a small path without fragments", AboutMTU, func(t *Tunnel, s *Server) {
			t.OuterDF, s.Size.Passed, s.Size.Lost = "always", 1300, 1301
		}, Wrong, `outer_df = "never"`},
		{"another vendor", AboutMTU, func(_ *Tunnel, s *Server) {
			s.Size = &Size{MTU: 1400, Plain: true, Packets: 3, Seconds: 0.02}
		}, Unknown, "another vendor"},
		{"no answer", AboutMTU, func(_ *Tunnel, s *Server) {
			s.Size, s.State = lost(), "registering"
		}, Wrong, "no packet was answered"},
		{"no answer, and this router is registered", AboutMTU, func(_ *Tunnel, s *Server) {
			s.Size = lost()
		}, Unknown, "another vendor"},
		{"goodbye", AboutRegistration, func(_ *Tunnel, s *Server) {
			s.State = "left"
		}, Look, "said goodbye"},
		{"a reserve", AboutRegistration, func(_ *Tunnel, s *Server) {
			s.State = "reserve"
		}, Good, "left alone"},
		{"refused", AboutRegistration, func(_ *Tunnel, s *Server) {
			s.State, s.Error = "refused", "code 14"
		}, Wrong, "refused: code 14"},
	} {
		s := server()
		r := report(tunnel(s))
		test.make(&r.Tunnels[0], &r.Tunnels[0].Servers[0])
		Judge(r)
		expect(t, test.name, r.Tunnels[0].Servers[0].Results, test.about, test.want, test.words)
		if r.Verdict != test.want {
			t.Errorf("%s: want the whole %s, have %s", test.name, test.want, r.Verdict)
		}
	}
}

// Each fault of an interface and of the router has its verdict and says what it is.
func TestVerdictsOfTheRouter(t *testing.T) {
	for _, test := range []struct {
		name  string
		about string
		make  func(r *Report, t *Tunnel)
		want  Verdict
		words string
	}{
		{"no device", AboutUnderlay, func(_ *Report, t *Tunnel) {
			t.Error = "there is no device eth9"
		}, Wrong, "eth9"},
		{"no address", AboutUnderlay, func(_ *Report, t *Tunnel) {
			t.Device, t.Address = "", netip.Addr{}
		}, Wrong, "no address"},
		{"an MTU that does not fit", AboutUnderlay, func(_ *Report, t *Tunnel) {
			t.UnderlayMTU, t.FitMTU = 1420, 1350
		}, Look, "set mtu = 1350"},
		{"an MTU that does not fit, without fragments", AboutUnderlay, func(_ *Report, t *Tunnel) {
			t.UnderlayMTU, t.FitMTU, t.OuterDF = 1420, 1350, "always"
		}, Wrong, "set mtu = 1350"},
		{"a certificate", AboutCertificates, func(_ *Report, t *Tunnel) {
			t.Certificates = []Certificate{{Look, "it expires in 20 days"}}
		}, Look, "in 20 days"},
		{"the file", AboutFile, func(r *Report, _ *Tunnel) {
			r.FileError = "line 3: no such key"
		}, Look, "line 3"},
		{"a file that may not be read", AboutFile, func(r *Report, _ *Tunnel) {
			r.FileError, r.FileDenied = "permission denied", true
		}, Unknown, "run it as root"},
		{"charon", AboutCharon, func(r *Report, _ *Tunnel) {
			r.Charon.Error = "no such socket"
		}, Wrong, "no such socket"},
		{"the clock", AboutClock, func(r *Report, _ *Tunnel) {
			r.Clock.Synchronized = false
		}, Look, "nothing keeps the clock right"},
		{"no answer about the clock", AboutClock, func(r *Report, _ *Tunnel) {
			r.Clock = Clock{Error: "not permitted"}
		}, Unknown, "not permitted"},
	} {
		r := report(tunnel(server()))
		test.make(r, &r.Tunnels[0])
		Judge(r)
		expect(t, test.name, append(r.Results, r.Tunnels[0].Results...), test.about, test.want,
			test.words)
		if r.Verdict != test.want {
			t.Errorf("%s: want the whole %s, have %s", test.name, test.want, r.Verdict)
		}
	}
}

// expect fails the test unless a result has a verdict and words, and says what to do where the
// verdict is bad.
func expect(t *testing.T, name string, all []Result, about string, want Verdict, words string) {
	t.Helper()
	for _, r := range all {
		if r.About == about && r.Verdict == want && strings.Contains(r.Found+" "+r.Do, words) &&
			(r.Do != "" || want == Good || want == Unknown || about == AboutCertificates) {
			return
		}
	}
	t.Errorf("%s: want %s: %s with %q, have %+v", name, about, want, words, all)
}
