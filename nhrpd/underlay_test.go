package nhrpd

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"cygnet/kernel/tunnel"
)

// The rule of an underlay's table follows the tunnel's address, and is there before charon hears of
// the address. It goes while there is no address or no VRF, with the setting, and last in a
// goodbye.
func TestRuleFollowsTheUnderlay(t *testing.T) {
	with := func(lines string) []byte {
		return []byte(strings.Replace(spokeToml, "[interface.gre1]", "[interface.gre1]\n"+lines, 1))
	}
	const first = "pin gre1 IPv4 rule from 192.0.2.11 for table 100 (priority 100)"
	const second = "pin gre1 IPv4 rule from 192.0.2.21 for table 100 (priority 100)"
	at := func(local string, table uint32) tunnel.State {
		st := tunnelThere
		st.VRFTable = table
		if st.Local = (netip.Addr{}); local != "" {
			st.Local = netip.MustParseAddr(local)
		}
		return st
	}
	both := at("192.0.2.11", 0)
	both.Local6 = netip.MustParseAddr("2001:db8::11")
	six := both
	six.Local = netip.Addr{}
	const first6 = "pin gre1 IPv6 IPv6 rule from 2001:db8::11 for table 100 (priority 100)"
	for name, c := range map[string]struct {
		toml   []byte
		states []tunnel.State
		want   []string
	}{
		"a table": {
			with("underlay_table = 100"),
			[]tunnel.State{at("192.0.2.11", 0), at("", 0), at("192.0.2.21", 0)},
			[]string{first, "unpin gre1", second},
		},
		"a VRF": {
			with("underlay_vrf = \"inet\""),
			[]tunnel.State{at("192.0.2.11", 0), at("192.0.2.11", 100), at("192.0.2.21", 100)},
			[]string{first, second},
		},
		"a VRF with another table than the file": {
			with("underlay_vrf = \"inet\"\nunderlay_table = 7"),
			[]tunnel.State{at("192.0.2.11", 100), at("192.0.2.11", 0)},
			[]string{first, "unpin gre1"},
		},
		"a table for both IP versions": {
			with("underlay_table = 100"),
			[]tunnel.State{both, six, at("", 0)},
			[]string{first, first6, "unpin gre1", first6, "unpin gre1 IPv6"},
		},
		"neither": {[]byte(spokeToml), []tunnel.State{at("192.0.2.11", 100)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inWorldOf(t, c.toml, func(t *testing.T, w *world, d *Daemon) {
				for _, st := range c.states {
					w.tunnels["gre1"].states <- st
					synctest.Wait()
				}
				if got := pins(w); !slices.Equal(got, c.want) {
					t.Errorf("asked for the rules %q, want %q", got, c.want)
				}
			})
		})
	}
	inWorldOf(t, with("underlay_table = 100"), func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		if w.noted(first) < 0 || w.noted(first) > w.noted("profile gre1 from 192.0.2.11") {
			t.Errorf("charon may dial before the rule is there: %q", w.record)
		}
		if err := d.Leave(t.Context(), "gre1"); err != nil {
			t.Fatal(err)
		}
		if at := w.noted("unpin gre1"); at < 0 || at < w.noted("remove gre1") {
			t.Errorf("the rule does not go last: %q", w.record)
		}
	})
	clear, _, _ := strings.Cut(spokeToml, "[interface.gre1.ipsec]")
	clear += "protection = \"none\"\n"
	before := []byte(strings.Replace(clear, "shortcut = true", "shortcut = true\nunderlay_table = 100", 1))
	inWorldOf(t, before, func(t *testing.T, w *world, d *Daemon) {
		w.tunnels["gre1"].states <- tunnelThere
		synctest.Wait()
		if w.noted(first) < 0 {
			t.Errorf("no rule: %q", w.record)
		}
		if err := os.WriteFile(d.path, []byte(clear), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Reload(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		w.tunnels["gre1"].states <- tunnelThere
		synctest.Wait()
		if w.noted("unpin gre1") < 0 {
			t.Errorf("the rule outlives the setting: %q", w.record)
		}
	})
}

// pins returns what the daemon asked for of the rules of underlays.
func pins(w *world) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, what := range w.record {
		if strings.Contains(what, "pin gre1") {
			all = append(all, what)
		}
	}
	return all
}
