package health

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/nhrpd/api"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

var (
	hub   = netip.MustParseAddr("198.51.100.1")
	local = netip.MustParseAddr("192.0.2.11")
)

// well returns the status of a spoke without problems.
func well() *api.Status {
	return &api.Status{
		Now:        now,
		StrongSwan: api.StrongSwan{Connected: true},
		Interfaces: []api.Interface{{
			Name: "gre1", Index: 5, Up: true, Protected: true, NBMA: local,
			Admission: api.AdmissionPeers,
			NHS:       []api.NHS{{Name: "hub", NBMA: hub, State: api.NHSRegistered}},
			Peers: []api.Peer{
				{NBMA: hub, Identity: "hub", State: api.PeerSecured, Interest: []string{"nhs"}},
			},
		}},
	}
}

// Each fault that a field of the status shows is one problem, with its severity, and is reported
// once.
func TestDiagnose(t *testing.T) {
	nhs := func(n api.NHS) func(*api.Status) {
		return func(s *api.Status) {
			n.Name, n.NBMA = "hub", hub
			s.Interfaces[0].NHS[0] = n
		}
	}
	for _, test := range []struct {
		name   string
		change func(*api.Status)
		want   []string // severity, code and the beginning of the text
	}{
		{"nothing", func(*api.Status) {}, nil},
		{"an authorizer that answers", func(s *api.Status) {
			s.Interfaces[0].Authorizer = &api.Authorizer{Socket: "/run/a", Connected: true}
		}, nil},
		{"an authorizer that is tried for the first time", func(s *api.Status) {
			s.Interfaces[0].Authorizer = &api.Authorizer{Socket: "/run/a"}
		}, nil},
		{"no authorizer, and refusal is the default", func(s *api.Status) {
			s.Interfaces[0].Authorizer = &api.Authorizer{Socket: "/run/a", Since: ago(time.Minute),
				Default: api.AuthorizerRefuses, Error: "no such file"}
		}, []string{"error authorizer-silent no connection to the authorizer at /run/a for " +
			"1m0s: new routers are refused"}},
		{"a silent authorizer, and what the rules allow is the default", func(s *api.Status) {
			s.Interfaces[0].Authorizer = &api.Authorizer{Socket: "/run/a", Connected: true,
				Default: api.AuthorizerAllows, Silent: ago(time.Minute)}
		}, []string{"warning authorizer-silent the authorizer at /run/a has not answered for " +
			"1m0s: new routers are allowed"}},
		{"an authorizer of another mind about JSON", func(s *api.Status) {
			s.Interfaces[0].Authorizer = &api.Authorizer{Socket: "/run/a", Connected: true,
				Error: "a line cannot be read"}
		}, []string{"warning authorizer-silent the authorizer at /run/a sends what cygnetd does " +
			"not take"}},
		{"no charon", func(s *api.Status) {
			s.StrongSwan = api.StrongSwan{Since: ago(12 * time.Second)}
		},
			[]string{"error strongswan-unreachable strongSwan is not reachable for 12s"}},
		{"no charon, and nobody needs it", func(s *api.Status) {
			s.StrongSwan.Connected, s.Interfaces[0].Protected = false, false
		},
			[]string{"warning interface-unprotected NOT PROTECTED"}},
		{"no charon after leaving", func(s *api.Status) {
			s.StrongSwan.Connected, s.Interfaces[0].Left = false, true
		},
			[]string{"warning interface-left left by cygnet leave"}},
		{"left", func(s *api.Status) {
			i := &s.Interfaces[0]
			i.Left, i.Up, i.Index, i.NBMA = true, false, 0, netip.Addr{}
			i.NHS[0] = api.NHS{Name: "hub", State: api.NHSLeft}
			i.Peers[0] = api.Peer{NBMA: hub, State: api.PeerSecuring, Error: "of before"}
		}, []string{"warning interface-left left by cygnet leave"}},
		{"failed", func(s *api.Status) {
			s.Interfaces[0].Error, s.Interfaces[0].NBMA = "there is no device eth7", netip.Addr{}
		},
			[]string{"error interface-failed there is no device eth7"}},
		{"no tunnel", func(s *api.Status) { s.Interfaces[0].Index = 0 }, []string{"error tunnel-missing the tunnel"}},
		{"down", func(s *api.Status) { s.Interfaces[0].Up = false }, []string{"error tunnel-down the tunnel"}},
		{"no address", func(s *api.Status) { s.Interfaces[0].NBMA = netip.Addr{} }, []string{"error underlay-without-address the underlay"}},
		{"another router has the address", func(s *api.Status) { s.Interfaces[0].Absent = true },
			[]string{"warning underlay-without-address standing by: this host does not have the address 192.0.2.11"}},
		{"on a reserve uplink", func(s *api.Status) {
			s.Interfaces[0].Uplinks = &api.Uplinks{
				Devices: []api.Uplink{{Device: "eth0"}, {Device: "wwan0", InUse: true}},
				Reason:  "eth0 has no address any more",
			}
		}, []string{"warning uplink-in-reserve the tunnel sends from wwan0, the uplink 2 of 2: eth0 has no address any more"}},
		{"more peers at IPv6 addresses than devices", func(s *api.Status) {
			s.Interfaces[0].Links = &api.Links{Devices: 1000, Limit: 1000, Refused: 3}
		}, []string{"error peer-devices 3 peers at IPv6 addresses are refused: there are 1000 devices"}},
		{"devices of peers that fail", func(s *api.Status) {
			s.Interfaces[0].Links = &api.Links{Devices: 3, Limit: 1000, Error: "no memory"}
		}, []string{"error peer-devices the devices of peers at IPv6 addresses are not as they should be, and are tried again: no memory"}},
		{"devices of peers as they should be", func(s *api.Status) {
			s.Interfaces[0].Links = &api.Links{Devices: 1000, Limit: 1000}
		}, nil},
		{"on the best uplink", func(s *api.Status) {
			s.Interfaces[0].Uplinks = &api.Uplinks{
				Devices: []api.Uplink{{Device: "eth0", InUse: true}, {Device: "wwan0"}},
			}
		}, nil},
		{"not enforced", func(s *api.Status) {
			s.Interfaces[0].Admission = api.AdmissionUnenforced
		},
			[]string{"warning admission-unenforced admission is not enforced"}},
		{"not enforced, with the reason", func(s *api.Status) {
			s.Interfaces[0].Admission, s.Interfaces[0].AdmissionReason = api.AdmissionUnenforced, "taken"
		}, []string{"warning admission-unenforced admission is not enforced: data of every router that has an SA is taken: taken"}},
		{"a filter before ours", func(s *api.Status) {
			s.Interfaces[0].AdmissionReason = "a filter"
		},
			[]string{"warning admission-bypassed data may pass beside admission: a filter"}},
		{"a table that is full", func(s *api.Status) { s.Interfaces[0].DataPathError = "full" },
			[]string{"error data-path-failed eBPF on the tunnel is not as it should be, and tried again: full"}},
		{"groups by user space", func(s *api.Status) {
			s.Interfaces[0].Multicast = &api.Multicast{Mode: api.MulticastUserSpace, Reason: "no eBPF"}
		}, []string{"warning multicast-in-user-space the daemon itself sends what is for groups, and only while it runs: no eBPF"}},
		{"groups by user space, and not even that", func(s *api.Status) {
			s.Interfaces[0].Multicast = &api.Multicast{
				Mode: api.MulticastUserSpace, Reason: "no eBPF", Error: "no socket"}
		}, []string{"error multicast-failed routers may not get what is sent to groups, such as hellos of routing protocols: no socket"}},
		{"groups by eBPF", func(s *api.Status) {
			s.Interfaces[0].Multicast = &api.Multicast{Mode: api.MulticastEBPF}
		}, nil},
		{"nothing of that after leaving", func(s *api.Status) {
			i := &s.Interfaces[0]
			i.Left, i.Admission = true, api.AdmissionUnenforced
			i.AdmissionReason, i.DataPathError = "a", "b"
		}, []string{"warning interface-left left by cygnet leave"}},
		{"drained, clients left", func(s *api.Status) {
			i := &s.Interfaces[0]
			i.Draining, i.Bindings = true, []api.Binding{{}, {}, {Static: true}}
		}, []string{"warning interface-draining drained by cygnet drain: 2 clients are left, and new ones are refused"}},
		{"drained", func(s *api.Status) {
			s.Interfaces[0].Draining, s.Interfaces[0].Bindings = true, nil
		}, []string{"warning interface-draining drained by cygnet drain: no client is left"}},
		{"first request unanswered",
			nhs(api.NHS{State: api.NHSRegistering, Attempts: 1, Asked: ago(2 * time.Second)}),
			[]string{"warning nhs-unanswered NHS hub (198.51.100.1) unanswered: 1 request in a row, the first asked 2s ago"}},
		{"refresh unanswered",
			nhs(api.NHS{State: api.NHSRegistered, Attempts: 5, Asked: ago(time.Minute)}),
			[]string{"warning nhs-unanswered NHS hub (198.51.100.1) unanswered: 5 requests in a row, the first asked 1m0s ago"}},
		{"dead", nhs(api.NHS{State: api.NHSRegistering, Attempts: 5,
			Next: now.Add(8 * time.Second)}),
			[]string{"error nhs-unanswered NHS hub (198.51.100.1) unanswered: 5 requests in a row; next try in 8s"}},
		{"refused", nhs(api.NHS{State: api.NHSRefused, Error: "code 4"}), []string{"error nhs-refused NHS hub (198.51.100.1) refuses our registration: code 4"}},
		{"refused by one that another replaces", func(s *api.Status) {
			s.Interfaces[0].NHS = append(s.Interfaces[0].NHS, api.NHS{
				Name: "full", State: api.NHSRefused, Use: api.NHSUseProbing, Error: "code 5"})
			s.Interfaces[0].NHS[0].Use = api.NHSUseInUse
		}, []string{"warning nhs-refused NHS full refuses our registration: code 5; another one of its cluster is used in its place"}},
		{"refused by one of a cluster where none is used", func(s *api.Status) {
			s.Interfaces[0].NHS = append(s.Interfaces[0].NHS, api.NHS{Cluster: 1,
				Name: "full", State: api.NHSRefused, Use: api.NHSUseProbing, Error: "code 5"})
			s.Interfaces[0].NHS[0].Use = api.NHSUseInUse
		}, []string{"error nhs-refused NHS full refuses our registration: code 5"}},
		{"in reserve", func(s *api.Status) {
			s.Interfaces[0].NHS = append(s.Interfaces[0].NHS,
				api.NHS{Name: "hub2", State: api.NHSReserve, Use: api.NHSUseReserve})
		}, nil},
		{"IPv6 does not work", func(s *api.Status) {
			s.Interfaces[0].NHS[0].Use = api.NHSUseInUse
			s.Interfaces[0].NHS = append(s.Interfaces[0].NHS, api.NHS{
				Name: "hub", NBMA: netip.MustParseAddr("2001:db8::1"),
				State: api.NHSSecuring, Use: api.NHSUseProbing, Error: "no answer"})
		}, []string{"warning nhs-unsecured NHS hub (2001:db8::1) is not secured: no answer; its name is used over the other IP version"}},
		{"the NHS and its peer say the same", func(s *api.Status) {
			s.Interfaces[0].NHS[0] = api.NHS{
				Name: "hub", NBMA: hub, State: api.NHSSecuring, Error: "authentication failed",
			}
			s.Interfaces[0].Peers[0] = api.Peer{NBMA: hub, State: api.PeerSecuring, Error: "authentication failed"}
		}, []string{"error nhs-unsecured NHS hub (198.51.100.1) is not secured: authentication failed"}},
		{"another peer", func(s *api.Status) {
			s.Interfaces[0].Peers = append(s.Interfaces[0].Peers, api.Peer{
				NBMA: local, State: api.PeerSecuring, Error: "no answer",
				Interest: []string{"binding"},
			})
		}, []string{"error peer-unsecured peer 192.0.2.11 is not secured: no answer"}},
		{"a peer for a shortcut", func(s *api.Status) {
			s.Interfaces[0].Peers = append(s.Interfaces[0].Peers, api.Peer{
				NBMA: local, State: api.PeerSecuring, Error: "no answer",
				Interest: []string{"shortcut", "answer"},
			})
		}, []string{"warning peer-unsecured peer 192.0.2.11 is not secured, and traffic with it stays on the hub: no answer"}},
		{"the NHS is this router", func(s *api.Status) { s.Interfaces[0].NHS[0].NBMA = local },
			[]string{"error nhs-is-self NHS hub (192.0.2.11) is this router itself"}},
		{"errors first", func(s *api.Status) {
			s.Interfaces[0].Admission, s.Interfaces[0].Up = api.AdmissionUnenforced, false
			s.Tables.Failing = 1
			s.Problems = []api.Problem{
				{Code: api.ProblemReload, Severity: api.SeverityError, Text: "x"},
			}
		}, []string{"error reload-failed x", "error kernel-refuses the kernel refuses 1", "error tunnel-down the", "warning admission-unenforced a"}},
		{"a route", func(s *api.Status) {
			s.Routes = []api.Route{
				{Interface: "gre1", Prefix: netip.MustParsePrefix("172.16.1.0/24"), NextHop: hub},
				{Installed: true},
			}
		}, []string{"error route-missing route 172.16.1.0/24 via 198.51.100.1 is wanted but not in the kernel"}},
		{"a route to a router's own address", func(s *api.Status) {
			s.Routes = []api.Route{
				{Interface: "gre1", Prefix: netip.MustParsePrefix("10.255.0.1/32")},
			}
		}, []string{"error route-missing route 10.255.0.1/32 is wanted but not in the kernel"}},
		{"an NHS that cannot be sent to", func(s *api.Status) {
			s.Interfaces[0].NHS = []api.NHS{
				{Name: "hub", NBMA: hub, State: api.NHSRegistered, Error: "its overlay address 10.254.0.1 is outside"},
			}
		}, []string{"error nhs-unusable NHS hub (198.51.100.1) registered us, but no packet can be sent to it: its overlay address 10.254.0.1 is outside"}},
	} {
		s := well()
		test.change(s)
		var got []string
		for n, p := range Diagnose(s) {
			text := string(p.Severity) + " " + string(p.Code) + " " + p.Text
			if n < len(test.want) && strings.HasPrefix(text, test.want[n]) {
				text = test.want[n]
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", test.name, diff)
		}
	}
}

// The worst problem decides.
func TestWorst(t *testing.T) {
	warning, wrong := api.Problem{
		Severity: api.SeverityWarning,
	}, api.Problem{Severity: api.SeverityError}
	for _, test := range []struct {
		problems []api.Problem
		want     api.Severity
	}{
		{nil, ""}, {[]api.Problem{warning}, api.SeverityWarning},
		{[]api.Problem{warning, wrong, warning}, api.SeverityError},
	} {
		if got := Worst(test.problems); got != test.want {
			t.Errorf("of %v: %q", test.problems, got)
		}
	}
}
