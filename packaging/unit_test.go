package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// settings are the assignments of a unit file, "Key" to its values in their order.
func settings(t *testing.T, path string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for line := range strings.Lines(read(t, path)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			all[key] = append(all[key], value)
		}
	}
	return all
}

// installedUnit is the unit as the deb has it, with the programs where they are unpacked.
func installedUnit(t *testing.T) string {
	t.Helper()
	b := testBuild(t)
	deb, _ := b.make(t)
	root := unpack(t, deb)
	path := filepath.Join(t.TempDir(), "cygnetd.service")
	text := strings.ReplaceAll(read(t, filepath.Join(root, "lib/systemd/system/cygnetd.service")), "=/usr/sbin/cygnetd", "="+root+"/usr/sbin/cygnetd")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// systemd understands every line of the units.
func TestUnitsAreValid(t *testing.T) {
	units := []string{installedUnit(t), "../contrib/prometheus/cygnet-metrics.service", "../contrib/prometheus/cygnet-metrics.timer"}
	for _, unit := range units {
		path, err := filepath.Abs(unit)
		if err != nil {
			t.Fatal(err)
		}
		if complaints := output(t, "systemd-analyze", "verify", "--man=no", path); complaints != "" {
			t.Errorf("%s:\n%s", unit, complaints)
		}
	}
}

// By systemd's own measure (0 best, 10 worst) the unit keeps below what it had when it was measured: 2.8.
func TestUnitIsHardened(t *testing.T) {
	unit := installedUnit(t)
	output(t, "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=28", unit)
}

// The daemon is root with these capabilities and no more; each is explained in the unit.
func TestCapabilities(t *testing.T) {
	const unit = "systemd/cygnetd.service"
	capabilities := strings.Fields(strings.Join(settings(t, unit)["CapabilityBoundingSet"], " "))
	want := []string{"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF", "CAP_CHOWN"}
	if !slices.Equal(capabilities, want) {
		t.Errorf("the unit gives %q", capabilities)
	}
	for _, c := range capabilities {
		if !strings.Contains(read(t, unit), "\n# "+c+" ") {
			t.Errorf("%s is not explained", c)
		}
	}
}

// The unit's start is the daemon's own word, it lives without charon, and its folders are where the daemon looks by default.
func TestUnitFitsTheDaemon(t *testing.T) {
	s := settings(t, "systemd/cygnetd.service")
	for key, want := range map[string]string{
		"Type":           "notify",
		"Requires":       "",
		"BindsTo":        "",
		"Wants":          "strongswan.service",
		"ExecReload":     "/bin/kill -HUP $MAINPID",
		"Restart":        "on-failure",
		"WatchdogSec":    "30s",
		"LimitCORE":      "0",
		"WantedBy":       "multi-user.target",
		"StateDirectory": "cygnet",
	} {
		if got := strings.Join(s[key], " "); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	reference := read(t, "../contrib/cygnet/reference.toml")
	for _, fact := range []string{
		`api_socket = "/run/` + strings.Join(s["RuntimeDirectory"], " ") + `/cygnet.sock"`,
		`state_dir = "/var/lib/` + strings.Join(s["StateDirectory"], " ") + `"`,
	} {
		if !strings.Contains(reference, "#"+fact+"\n") {
			t.Errorf("the daemon's defaults are not %s", fact)
		}
	}
}
