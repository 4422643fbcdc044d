package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// settings returns the assignments of a unit file: for each key its values in order.
func settings(t *testing.T, path string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for line := range strings.Lines(read(t, path)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok &&
			!strings.HasPrefix(key, "#") {
			all[key] = append(all[key], value)
		}
	}
	return all
}

// installedUnit returns a unit as the deb installs it, with the paths of the unpacked programs.
func installedUnit(t *testing.T, name string) string {
	t.Helper()
	b := testBuild(t)
	deb, _ := b.make(t)
	root := unpack(t, deb)
	path := filepath.Join(t.TempDir(), name)
	text := strings.ReplaceAll(read(t, filepath.Join(root, "lib/systemd/system", name)), "=/usr/sbin/cygnetd", "="+root+"/usr/sbin/cygnetd")
	text = strings.ReplaceAll(text, "=/usr/bin/cygnet", "="+root+"/usr/bin/cygnet")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// systemd understands every line of the units.
func TestUnitsAreValid(t *testing.T) {
	units := []string{
		installedUnit(t, "cygnetd.service"), installedUnit(t, "cygnet-guard.service"),
		installedUnit(t, "cygnet-hooks.service"), installedUnit(t, "cygnet-web.service"),
		"../contrib/prometheus/cygnet-metrics.service",
		"../contrib/prometheus/cygnet-metrics.timer",
	}
	for _, unit := range units {
		path, err := filepath.Abs(unit)
		if err != nil {
			t.Fatal(err)
		}
		if complaints := output(
			t, "systemd-analyze", "verify", "--man=no", path,
		); complaints != "" {
			t.Errorf("%s:\n%s", unit, complaints)
		}
	}
}

// By systemd's own measure (0 best, 10 worst) the units stay below the values that were once
// measured.
func TestUnitsAreHardened(t *testing.T) {
	for name, threshold := range map[string]string{
		"cygnetd.service": "26", "cygnet-guard.service": "14",
		"cygnet-hooks.service": "21", "cygnet-web.service": "13",
	} {
		output(t, "systemd-analyze", "security", "--no-pager", "--offline=true",
			"--threshold="+threshold, installedUnit(t, name))
	}
}

// The page runs as a user of its own in the group that may look, reads the socket for that, and can
// be reached from this machine only.
func TestWebUnit(t *testing.T) {
	s := settings(t, "systemd/cygnet-web.service")
	for key, want := range map[string]string{
		"DynamicUser":           "yes",
		"SupplementaryGroups":   "cygnet-view",
		"CapabilityBoundingSet": "",
		"IPAddressDeny":         "any",
		"IPAddressAllow":        "localhost",
		"ExecStart": "/usr/bin/cygnet web --socket /run/cygnet/view.sock " +
			"--listen 127.0.0.1:8116",
		"PartOf":   "",
		"WantedBy": "multi-user.target",
	} {
		if got := strings.Join(s[key], " "); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if group := read(t, "sysusers/cygnet.conf"); !strings.Contains(group, "\ng cygnet-view -\n") {
		t.Errorf("the package makes no group cygnet-view:\n%s", group)
	}
}

// The guard runs before anybody configures the network, and whenever the daemon is enabled, also
// after an upgrade.
func TestGuardUnit(t *testing.T) {
	guard, daemon := settings(t, "systemd/cygnet-guard.service"), settings(t, "systemd/cygnetd.service")
	for key, want := range map[string]string{
		"DefaultDependencies":   "no",
		"Wants":                 "network-pre.target",
		"Before":                "network-pre.target",
		"After":                 "local-fs.target",
		"Type":                  "oneshot",
		"RemainAfterExit":       "yes",
		"ExecStop":              "",
		"ExecStart":             strings.Join(daemon["ExecStart"], " ") + " -guard",
		"CapabilityBoundingSet": "CAP_NET_ADMIN",
	} {
		if got := strings.Join(guard[key], " "); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	for _, key := range []string{"Wants", "After"} {
		if got := strings.Join(daemon[key], " "); !strings.Contains(got, "cygnet-guard.service") {
			t.Errorf("the daemon's %s is %q", key, got)
		}
	}
}

// The daemon runs as root with these capabilities and no others. The unit explains each of them.
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

// The unit waits until the daemon reports its start, works without charon, and creates the folders
// that the daemon uses by default.
func TestUnitFitsTheDaemon(t *testing.T) {
	s := settings(t, "systemd/cygnetd.service")
	for key, want := range map[string]string{
		"Type":       "notify",
		"Requires":   "",
		"BindsTo":    "",
		"Wants":      "cygnet-guard.service",
		"ExecReload": "/usr/bin/cygnet reload",
		"Restart":    "on-failure",
		// Not 2, with which a Go program ends that crashes.
		"RestartPreventExitStatus": "64",
		"WatchdogSec":              "30s",
		"LimitCORE":                "0",
		"WantedBy":                 "multi-user.target",
		"StateDirectory":           "cygnet",
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
