package health

import (
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
)

// A problem about clear GRE has the peer, the packets and what lets them pass. If no cause was
// found, it says where to look. Devices without filters are reported as well.
func TestClearGRE(t *testing.T) {
	last := ago(3 * time.Second)
	for _, c := range []struct {
		name  string
		clear api.ClearGRE
		want  []string // severity, code and a part of the text and the remedy
	}{
		{"all is well", api.ClearGRE{Devices: []string{"eth0"}, StoppedIn: 99}, nil},
		{"stopped", api.ClearGRE{Devices: []string{"eth0"}, Causes: []string{"a policy"},
			Leaks: []api.ClearLeak{
				{Peer: hub, Packets: 7, Stopped: true, Device: "eth0", Last: last,
					Causes: []string{"a policy", "a sysctl"}},
			}},
			[]string{"error gre-in-clear GRE for peer 198.51.100.1 comes out of the kernel in clear: 7 packets stopped at eth0, the last 3s ago; found then: a sysctl;",
				"error gre-clear-cause a policy"}},
		{"left", api.ClearGRE{Leaks: []api.ClearLeak{{Peer: hub, Packets: 7, Last: last}}},
			[]string{"error gre-in-clear 7 packets of GRE LEFT IN CLEAR for peer 198.51.100.1, the last 3s ago: no ESP state took them; no IPsec policy and no sysctl explains it; look at \"ip route get 198.51.100.1\""}},
		{"no filters", api.ClearGRE{Missing: []string{"eth0"}, Error: "no eBPF"},
			[]string{"warning gre-unfiltered only IPsec policies keep GRE from leaving in clear: no eBPF"}},
		{"no filters on one", api.ClearGRE{
			Devices: []string{"eth0"}, Missing: []string{"ppp0"},
			Error: "it has an ingress qdisc",
		},
			[]string{"warning gre-unfiltered only IPsec policies keep GRE from leaving in clear by ppp0: it has an ingress qdisc"}},
	} {
		s := well()
		s.Interfaces[0].ClearGRE = &c.clear
		var got []string
		for _, p := range Diagnose(s) {
			got = append(got, string(p.Severity)+" "+string(p.Code)+" "+p.Text+"; "+p.Remedy)
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %d problems", c.name, got, len(c.want))
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s: %q, want %q", c.name, got[i], want)
			}
		}
	}
}
