package collect

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/explain"
	"cygnet/nhrpd/netcheck"
	"cygnet/nhrpd/uplink/ikeprobe"
)

// addr returns an address.
func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// The addresses of the tests.
var (
	own    = addr("192.0.2.12")
	first  = addr("198.51.100.1")
	second = addr("198.51.100.2")
)

// daemon is a daemon whose answers a test sets.
type daemon struct {
	status   *api.Status
	sas      [][]api.SA // one list after the other
	measured []netip.Addr
	result   *api.PingResult
	err      error // of the measurement
}

func (d *daemon) Status(context.Context) (*api.Status, error) {
	if d.status == nil {
		return nil, api.ErrNotRunning
	}
	return d.status, nil
}

func (d *daemon) SAs(context.Context) ([]api.SA, error) {
	list := d.sas[0]
	d.sas = d.sas[min(1, len(d.sas)-1):]
	return list, nil
}

func (d *daemon) MeasurePath(_ context.Context, to netip.Addr) (*api.PingResult, error) {
	d.measured = append(d.measured, to)
	return d.result, d.err
}

// running returns the daemon of a spoke behind NAT, with an NHS by its name and one in reserve.
func running() *daemon {
	sa := func(in, out uint64) []api.SA {
		return []api.SA{
			{Remote: first, LocalNAT: true, Children: []api.ChildSA{
				{InUDP: true, TotalIn: in, TotalOut: out}}},
			{Remote: second, LocalNAT: true, State: "CONNECTING"},
		}
	}
	return &daemon{
		status: &api.Status{
			StrongSwan: api.StrongSwan{Connected: true, Version: "5.9.8"},
			Interfaces: []api.Interface{{
				Name: "gre1", Up: true, Protected: true, MTU: 1400, OuterDF: "never", NBMA: own,
				NHS: []api.NHS{
					{Name: "hub.example.net", NBMA: first, Protocol: addr("10.255.0.1"),
						PublicNBMA: addr("203.0.113.7"), State: api.NHSRegistered,
						Use: api.NHSUseInUse},
					{Name: "198.51.100.2", NBMA: second, State: api.NHSReserve,
						Use: api.NHSUseReserve},
				},
				Bindings: []api.Binding{{ClientNBMA: own}, {}, {Static: true}},
			}},
		},
		sas: [][]api.SA{sa(100, 200), sa(1588, 1680)},
		result: &api.PingResult{MTU: 1400, Trips: []api.PingTrip{
			{Size: 64, Seconds: 0.002}, {Size: 1400}, {Size: 1300, Seconds: 0.003}, {Size: 1350}}},
	}
}

// host is a host whose resolver knows one name.
func host() Host {
	return Host{
		Lookup: func(_ context.Context, network, name string) ([]netip.Addr, error) {
			if name == "hub.example.net" && network == "ip4" {
				return []netip.Addr{netip.AddrFrom16(first.As16())}, nil
			}
			return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		},
		Resolvers: func() []string { return []string{"127.0.0.53"} },
		Addresses: func(string) (netip.Addr, netip.Addr, error) { return own, netip.Addr{}, nil },
		Device:    func(netip.Addr) (string, int, error) { return "eth0", 1500, nil },
		Way: func(_, source netip.Addr, _ string) netcheck.Way {
			return netcheck.Way{Device: "eth0", Source: source}
		},
		Ask: func(_ context.Context, _ string, _ netip.Addr, to netip.AddrPort) (
			ikeprobe.Outcome, time.Duration, error,
		) {
			if to.Port() == ikeprobe.PortNAT {
				return ikeprobe.Refused, time.Second, errors.New("connection refused")
			}
			return ikeprobe.Answered, time.Millisecond, nil
		},
		Clock: func() netcheck.Clock { return netcheck.Clock{Synchronized: true} },
	}
}

// collector returns a collector with that host and daemon.
func collector(d *daemon) *Collector {
	return &Collector{
		Host: host(), Daemon: d, Progress: func(string, ...any) {},
		Charon: func(context.Context) ([]api.SA, error) { return nil, errors.New("no charon") },
		Kernel: explain.Kernel{States: func(netip.Addr) ([]xfrm.ESPState, error) {
			return []xfrm.ESPState{
				{Src: own, Dst: first, SPI: 1, InUDP: true}, {Src: first, Dst: own, SPI: 2},
				{Src: own, Dst: second, SPI: 3},
			}, nil
		}},
	}
}

// collect runs a collector.
func collect(t *testing.T, c *Collector) *netcheck.Report {
	t.Helper()
	r := &netcheck.Report{}
	if err := c.Collect(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// With the daemon, the collector finds out everything about an NHS that is used, and sends nothing
// through the tunnel to one that is left alone.
func TestWithDaemon(t *testing.T) {
	d := running()
	r := collect(t, collector(d))
	t1 := r.Tunnels[0]
	want := netcheck.Server{
		Name: "hub.example.net", Address: first, Protocol: addr("10.255.0.1"),
		State: "registered", Use: "in use",
		Resolved: &netcheck.Resolved{IPv4: []netip.Addr{first}, IPv6: []netip.Addr{},
			Resolvers: []string{"127.0.0.53"}, Used: []netip.Addr{first},
			Seconds: t1.Servers[0].Resolved.Seconds},
		Way: &netcheck.Way{Device: "eth0", Source: own},
		Ports: []netcheck.Port{{Port: 500, Outcome: netcheck.Answered, Seconds: 0.001},
			{Port: 4500, Outcome: netcheck.Refused, Error: "connection refused"}},
		NAT: &netcheck.NAT{Own: own, Seen: addr("203.0.113.7"), Local: true, SA: true,
			Others: []netip.Addr{}},
		ESP: &netcheck.ESP{SA: true, InUDP: true, In: 1588, Out: 1680, NewIn: 1488, NewOut: 1480,
			KernelIn: 1, KernelOut: 1, KernelUDP: true, Probed: true},
		Size: &netcheck.Size{MTU: 1400, Passed: 1300, Lost: 1350, Packets: 4, Seconds: 0.002},
	}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(want, t1.Servers[0], same, cmp.Comparer(
		func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("want (-), have (+):\n%s", diff)
	}
	reserve := t1.Servers[1]
	if reserve.Size != nil || reserve.Resolved != nil || reserve.ESP.SA || reserve.NAT.SA {
		t.Errorf("of the NHS in reserve: %+v", reserve)
	}
	if want := []netip.Addr{addr("10.255.0.1")}; !slices.Equal(d.measured, want) {
		t.Errorf("want a measurement to %s, have %s", want, d.measured)
	}
	if t1.Clients != 2 || t1.ClientsNAT != 1 || t1.Device != "eth0" || !r.Charon.Needed ||
		r.Charon.Version != "5.9.8" {
		t.Errorf("have %+v, %+v", t1, r.Charon)
	}
}

// alone is a configuration with an NHS by its name and one whose name has no address.
const alone = `
[interface.gre1]
address = "10.255.0.12/24"
underlay = "eth0"
nhs = [{ nbma = "hub.example.net" }, { nbma = "hub.exmple.net" }]
[interface.gre1.ipsec]
identity = "spoke.example.net"
auth = "certificate"
`

// Without the daemon, the NHSs are those of the configuration, and what only the daemon can do is
// left out with the reason.
func TestWithoutDaemon(t *testing.T) {
	c := collector(&daemon{})
	var err error
	if c.Config, err = config.Parse([]byte(alone), "cygnet.toml"); err != nil {
		t.Fatal(err)
	}
	c.Certificates = map[string][]netcheck.Certificate{"gre1": {{Text: "expired"}}}
	r := collect(t, c)
	if r.DaemonError == "" || r.Charon.Error != "no charon" {
		t.Errorf("have %q, %+v", r.DaemonError, r.Charon)
	}
	t1 := r.Tunnels[0]
	if t1.FitMTU < 1400 || len(t1.Certificates) != 1 || t1.Address != own {
		t.Errorf("have %+v", t1)
	}
	found, missing := t1.Servers[0], t1.Servers[1]
	if found.Address != first || found.Ports[0].Outcome != netcheck.Answered ||
		found.ESP.Probed || !strings.Contains(found.Size.Error, "only cygnetd") {
		t.Errorf("have %+v", found)
	}
	if missing.Address.IsValid() || len(missing.Ports) != 0 || missing.Way != nil ||
		!strings.Contains(missing.Resolved.Error, "no such host") {
		t.Errorf("have %+v", missing)
	}
}

// A user who may only look has everything but what needs packets through the tunnel.
func TestWhoMayOnlyLook(t *testing.T) {
	d := running()
	d.err = &api.Refusal{Code: http.StatusForbidden, Message: "may only look"}
	size := collect(t, collector(d)).Tunnels[0].Servers[0].Size
	if !strings.Contains(size.Error, "api_group") {
		t.Errorf("have %+v", size)
	}
}

// Words select interfaces and NHSs. One that selects nothing is an error.
func TestOnly(t *testing.T) {
	for _, test := range []struct {
		only []string
		want []string
	}{
		{nil, []string{"hub.example.net", "198.51.100.2"}},
		{[]string{"gre1"}, []string{"hub.example.net", "198.51.100.2"}},
		{[]string{"hub.example.net"}, []string{"hub.example.net"}},
		{[]string{"10.255.0.1"}, []string{"hub.example.net"}},
		{[]string{"198.51.100.2", "198.51.100.1"}, []string{"hub.example.net", "198.51.100.2"}},
		{[]string{"gre2"}, nil},
		{[]string{"gre1", "203.0.113.1"}, nil},
	} {
		c := collector(running())
		c.Only = test.only
		r := &netcheck.Report{}
		err := c.Collect(t.Context(), r)
		if (err != nil) != (test.want == nil) {
			t.Errorf("%q: have the error %v", test.only, err)
		}
		if err != nil {
			continue
		}
		var have []string
		for _, s := range r.Tunnels[0].Servers {
			have = append(have, s.Name)
		}
		if !slices.Equal(have, test.want) {
			t.Errorf("%q: want %q, have %q", test.only, test.want, have)
		}
	}
}

// At most so many NHSs are asked at a time, each for two ports.
func TestAsksFewAtATime(t *testing.T) {
	d := running()
	for range 40 {
		d.status.Interfaces[0].NHS = append(d.status.Interfaces[0].NHS, api.NHS{
			Name: second.String(), NBMA: second, Use: api.NHSUseReserve})
	}
	c := collector(d)
	var mu sync.Mutex
	now, most := 0, 0
	ask := c.Host.Ask
	c.Host.Ask = func(
		ctx context.Context, device string, local netip.Addr, to netip.AddrPort,
	) (ikeprobe.Outcome, time.Duration, error) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		defer func() {
			mu.Lock()
			now--
			mu.Unlock()
		}()
		return ask(ctx, device, local, to)
	}
	if collect(t, c); most > 2*atOnce {
		t.Errorf("want %d probes at a time at most, have %d", 2*atOnce, most)
	}
}
