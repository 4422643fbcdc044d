package main

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/netcheck"
	"cygnet/nhrpd/netcheck/collect"
	"cygnet/nhrpd/uplink/ikeprobe"
)

// outside is what netcheck finds on the host of these tests: IKE answers everywhere.
var outside = collect.Host{
	Lookup: func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{addr("198.51.100.1")}, nil
	},
	Resolvers: func() []string { return nil },
	Addresses: func(string) (netip.Addr, netip.Addr, error) {
		return addr("192.168.1.2"), netip.Addr{}, nil
	},
	Device: func(netip.Addr) (string, int, error) { return "eth0", 1500, nil },
	Way: func(_, source netip.Addr, _ string) netcheck.Way {
		return netcheck.Way{Device: "eth0", Source: source, MTU: 1500, Table: 254}
	},
	Ask: func(context.Context, string, netip.Addr, netip.AddrPort) (
		ikeprobe.Outcome, time.Duration, error,
	) {
		return ikeprobe.Answered, time.Millisecond, nil
	},
	Clock: func() netcheck.Clock { return netcheck.Clock{Synchronized: true} },
}

// netcheck tells what it does, prints the report, and its exit code is that of the worst verdict.
func TestNetcheck(t *testing.T) {
	none := t.TempDir() + "/none"
	full := &api.PingResult{MTU: 1400, Trips: []api.PingTrip{
		{Size: 64, Seconds: 0.002}, {Size: 1400, Seconds: 0.003}}}
	small := &api.PingResult{MTU: 1400, Trips: []api.PingTrip{
		{Size: 64, Seconds: 0.002}, {Size: 1300, Seconds: 0.002}, {Size: 1301}}}
	for _, test := range []struct {
		name   string
		pinged *api.PingResult
		code   int
		words  string
	}{
		{"a file that is not there", full, exitWarning, "none cannot be used"},
		{"a small path", small, exitWrong, "1300 bytes pass both ways"},
	} {
		socket := start(t, &daemon{status: spoke(), pinged: test.pinged})
		code, out, errs := cygnet("netcheck", "hub.example.net", "--config", none,
			"--socket", socket)
		if code != test.code || !strings.Contains(out, test.words) ||
			!strings.Contains(errs, "gre1: measuring the way to ") {
			t.Errorf("%s: want %q and code %d, have %d\n%s\n%s",
				test.name, test.words, test.code, code, out, errs)
		}
	}
	code, out, errs := cygnet("netcheck", "--json", "--config", none, "--socket", none)
	var r netcheck.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitWrong || errs != "" ||
		r.Verdict != netcheck.Wrong || r.DaemonError == "" {
		t.Errorf("without daemon and file: %v, code %d, %s\n%s", err, code, errs, out)
	}
	if code, _, errs := cygnet("netcheck", "gre9", "--config", none, "--socket", none); code !=
		exitUsage || !strings.Contains(errs, `no interface and no NHS "gre9"`) {
		t.Errorf("of an interface that is not there: code %d, %s", code, errs)
	}
}
