package nhrpd

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/api"
	"cygnet/vici"
)

// certifiedToml is spokeToml without a file that a reload would read.
var certifiedToml = strings.Replace(spokeToml, `psk_file = "/etc/cygnet/gre1.psk"`,
	`auth = "certificate"`, 1)

// secondToml is an interface beside that of certifiedToml, on another underlay.
var secondToml = strings.NewReplacer(
	"gre1]", "gre2]", "gre1.ipsec", "gre2.ipsec", "10.255.0.11", "10.254.0.11",
	`"eth0"`, `"eth1"`, "42", "43",
).Replace(certifiedToml)

// secondThere is the state of the tunnel of secondToml.
var secondThere = tunnel.State{Index: 8, Local: netip.MustParseAddr("198.51.100.11"),
	Created: true, Up: true}

// reloaded is the outcome of a reload.
type reloaded struct {
	report *api.Reloaded
	err    error
	took   time.Duration
}

// action returns what the reload did to an interface, and what of that does not work; "" if it does
// not name the interface.
func (r *reloaded) action(name string) (a api.ReloadAction, fault string) {
	if r.report == nil {
		return "", ""
	}
	for _, i := range r.report.Interfaces {
		if i.Name == name {
			return i.Action, i.Error
		}
	}
	return "", ""
}

// beginReload writes a configuration to the daemon's file and begins to reload it.
func beginReload(t *testing.T, d *Daemon, toml string) <-chan *reloaded {
	t.Helper()
	if err := os.WriteFile(d.path, []byte(toml), 0o600); err != nil {
		t.Error(err)
	}
	done := make(chan *reloaded, 1)
	go func() {
		begun := time.Now()
		report, err := d.Reload(t.Context(), false)
		done <- &reloaded{report, err, time.Since(begun)}
	}()
	synctest.Wait()
	return done
}

// A reload adds an interface, and takes it away, while charon does not answer. The interface that
// goes on keeps what it has, and the new one gets its SA once charon is back.
func TestReloadWithoutCharon(t *testing.T) {
	inWorldOf(t, []byte(certifiedToml), func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		first := w.tunnels["gre1"]
		w.mu.Lock()
		w.charonGone = time.Now()
		w.mu.Unlock()
		done := beginReload(t, d, certifiedToml+secondToml)
		w.tunnels["gre2"].states <- secondThere
		added := <-done
		if a, fault := added.action("gre2"); added.err != nil || a != api.ReloadAdded ||
			fault != "" {
			t.Errorf("the new interface: %q, %q, %v", a, fault, added.err)
		}
		if a, _ := added.action("gre1"); a != api.ReloadKept || w.tunnels["gre1"] != first {
			t.Errorf("the interface that was there: %q", a)
		}
		synctest.Wait()
		if got := w.wanted(vici.Key{Interface: "gre2", NBMA: hubNBMA}); got != vici.InitiateFirst {
			t.Errorf("the SA of the new interface is wanted as %v", got)
		}
		removed := <-beginReload(t, d, certifiedToml)
		if a, _ := removed.action("gre2"); removed.err != nil || a != api.ReloadRemoved ||
			removed.took > closeTime {
			t.Errorf("the interface that goes: %q, %v, after %v", a, removed.err, removed.took)
		}
		if w.noted("remove gre2") < 0 {
			t.Error("the tunnel gre2 stayed")
		}
		for _, what := range []string{"close 192.0.2.1", "remove gre1", "remove profile gre1"} {
			if w.noted(what) >= 0 {
				t.Errorf("without charon, and without a reason: %s", what)
			}
		}
	})
}

// A reload comes while an earlier one waits for an interface that it started, and takes that
// interface away. Both end at once, and the earlier one tells what became of the interface.
func TestReloadDuringAReload(t *testing.T) {
	inPlainWorld(t, func(t *testing.T, w *world, d *Daemon) {
		second := strings.NewReplacer("gre1", "gre2", "10.255.", "10.254.", "eth0", "eth1",
			"42", "43").Replace(plainToml)
		earlier := beginReload(t, d, plainToml+second)
		if w.tunnels["gre2"] == nil || len(earlier) > 0 {
			t.Fatal("the reload does not wait for the interface that it started")
		}
		later := <-beginReload(t, d, plainToml)
		if a, fault := later.action("gre2"); later.err != nil || a != api.ReloadRemoved ||
			fault != "" {
			t.Errorf("the later reload: %q, %q, %v", a, fault, later.err)
		}
		r := <-earlier
		if a, fault := r.action("gre2"); r.err != nil || a != api.ReloadAdded ||
			!strings.Contains(fault, "a later reload") || r.took >= readyTime {
			t.Errorf("the earlier reload: %q, %q, %v, after %v", a, fault, r.err, r.took)
		}
		st, err := d.Status(t.Context())
		if err != nil || len(st.Interfaces) != 1 || st.Interfaces[0].Name != "gre1" {
			t.Errorf("the interfaces are %+v, %v", st.Interfaces, err)
		}
	})
}

// A reload that waits for its turn, while another one says goodbye on an interface, applies the
// file as it is when its turn comes: an older one must not win over a newer one.
func TestReloadReadsTheFileInItsTurn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		with := func(holdingTime string) string {
			return strings.Replace(plainToml, "key = 42",
				"key = 42\nholding_time = \""+holdingTime+"\"", 1)
		}
		goodbye := beginReload(t, d, "")
		waiting := beginReload(t, d, with("90s"))
		if len(goodbye) > 0 || len(waiting) > 0 {
			t.Fatal("the goodbye is over, so that nothing waits for it")
		}
		if err := os.WriteFile(d.path, []byte(with("120s")), 0o600); err != nil {
			t.Error(err)
		}
		if r := <-goodbye; r.err != nil {
			t.Error(r.err)
		}
		synctest.Wait() // the interface is open again
		w.tunnels["gre1"].states <- tunnelThere
		if r := <-waiting; r.err != nil {
			t.Error(r.err)
		}
		if got := d.loaded.Load().Interfaces[0].HoldingTime; got != 2*time.Minute {
			t.Errorf("the daemon runs with a holding time of %v, the file has 2m", got)
		}
	})
}

// A reload that starts an interface anew registers as soon as the tunnel is there again. A tunnel
// with another GRE key hears nothing from the hub until that has the key as well, so the
// registration counts as lost until the hub answers. With other changes it goes on.
func TestReloadRegistersAnew(t *testing.T) {
	for name, tt := range map[string]struct {
		setting string // in the place of the key
		lost    bool
	}{
		"key":          {"key = 43", true},
		"holding time": {"key = 42\nholding_time = \"90s\"", false},
		"TTL":          {"key = 42\nttl = 7", false},
		"redirect":     {"key = 42\nredirect = true", false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorldOf(t, []byte(certifiedToml), func(t *testing.T, w *world, d *Daemon) {
				secureHub(w)
				register(t, w, w.socket(0))
				nhs := func() api.NHS {
					st, err := d.Status(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					return st.Interfaces[0].NHS[0]
				}
				done := beginReload(t, d,
					strings.Replace(certifiedToml, "key      = 42", tt.setting, 1))
				if lost := nhs().State != api.NHSRegistered; lost != tt.lost {
					t.Errorf("before the tunnel is there, the NHS is %+v", nhs())
				}
				w.tunnels["gre1"].states <- tunnelThere
				if r := <-done; r.err != nil {
					t.Error(r.err)
				}
				synctest.Wait()
				registrationIn(t, w.socket(1).packets())
				if lost := nhs().State != api.NHSRegistered; lost != tt.lost {
					t.Errorf("before the hub has answered, the NHS is %+v", nhs())
				}
				register(t, w, w.socket(1))
				if n := nhs(); n.State != api.NHSRegistered || n.Error != "" {
					t.Errorf("once the hub has answered, the NHS is %+v", n)
				}
			})
		})
	}
}
