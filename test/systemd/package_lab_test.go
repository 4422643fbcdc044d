//go:build lab

package systemd

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cygnet/test/lab"
)

// siteConnection is a connection that the administrator has with another router, apart from Cygnet.
const siteConnection = `connections {
	site {
		version = 2
		local_addrs = %LOCAL%
		remote_addrs = %REMOTE%
		proposals = aes128-sha256-x25519
		local { auth = psk
			id = %LOCAL% }
		remote { auth = psk
			id = %REMOTE% }
		children { site {
			mode = transport
			local_ts = dynamic[icmp]
			remote_ts = dynamic[icmp]
			esp_proposals = aes128gcm16-x25519
			start_action = trap
		} }
	}
}
secrets { ike-site { secret = "a key of the site's own" } }
`

// site is the administrator's own IPsec between the machine and a router without Cygnet.
type site struct {
	r    *router
	peer *lab.Router
	flow *lab.Flow
	sa   string // the SPIs of the IKE_SA
}

// newSite sets up the site's other end and the machine's own connection.
func newSite(r *router) *site {
	r.Mesh.Helper()
	s := &site{r: r, peer: r.Mesh.Router("other", lab.Addr("192.0.2.50/24"))}
	of := func(local, remote string) string {
		return strings.NewReplacer("%LOCAL%", local, "%REMOTE%", remote).Replace(siteConnection)
	}
	s.peer.Charon()
	s.peer.WriteFile("/etc/swanctl/swanctl.conf", 0o600, of("192.0.2.50", "192.0.2.11"))
	s.peer.Run("swanctl", "--load-all")
	r.WriteFile("/etc/swanctl/conf.d/site.conf", 0o600, of("192.0.2.11", "192.0.2.50"))
	r.Run("swanctl", "--load-all")
	return s
}

// begin starts the site's traffic, whose first packet has charon make the SA.
func (s *site) begin() {
	s.r.Mesh.Helper()
	s.r.Await("the site's own IPsec works", soon, func() error { return s.r.Reaches(s.peer.NBMA) })
	s.sa = s.spis()
	s.flow = s.r.Flow(s.peer.NBMA, 100*time.Millisecond)
}

// established matches what swanctl says of an IKE_SA, with its SPIs.
var established = regexp.MustCompile(
	`ESTABLISHED, IKEv2, ([0-9a-f]+_i\*? [0-9a-f]+_r\*?)`,
)

// spis returns the SPIs of the site's only IKE_SA.
func (s *site) spis() string {
	s.r.Mesh.Helper()
	out := s.r.Run("swanctl", "--list-sas", "--ike", "site")
	found := established.FindAllStringSubmatch(out, -1)
	if len(found) != 1 || strings.Count(out, "INSTALLED") != 1 {
		s.r.Mesh.Fatalf("the site has not one IKE_SA with one child:\n%s", out)
	}
	return found[0][1]
}

// untouched ends the site's traffic. It fails the test unless the site has the SA that it began
// with, and has lost no packet since.
func (s *site) untouched() {
	s.r.Mesh.Helper()
	s.flow.Back(time.Now(), soon)
	if sent, lost, _ := s.flow.Loss(time.Time{}); lost > 0 {
		s.r.Mesh.Errorf("the site's own IPsec lost %d of %d packets", lost, sent)
	}
	if now := s.spis(); now != s.sa {
		s.r.Mesh.Errorf("the site's own SA was %s and is %s", s.sa, now)
	}
	s.flow.Stop()
}

// The package on a machine with systemd: an administrator installs it, edits the configuration,
// enables and starts the daemon, its page and its hooks, reloads it, and removes it. The daemon
// hangs and crashes, and charon is restarted and replaced. What the site has of its own IPsec is
// left alone, by the removal too.
func TestPackage(t *testing.T) {
	boots(t, func(m *machine) {
		m.addPackage("cygnet", "9.0.0")
	}, phase{"life", life}, phase{"removal", removal})
}

// life is the life of an installed package but its end.
func life(_ *testing.T, r *router) {
	r.boot()
	own := newSite(r)
	own.begin()
	install(r)
	r.Hub.Start()
	r.DaemonLines = append(r.DaemonLines, `api_view_group = "cygnet-view"`)
	r.configure()
	r.Run("systemctl", "enable", "--quiet", "--now", "cygnetd.service")
	r.joined()
	page(r)
	if state := r.show("cygnet-guard.service", "ActiveState"); state != "active" {
		r.Mesh.Errorf("the guard's unit is %s", state)
	}
	reloads(r)
	hooks(r)
	journal(r)
	hooked(r)
	authorizes(r)
	exposures(r)
	watchdog(r)
	crashes(r)
	own.untouched()
	charons(r)
	r.encrypted()
}

// install installs a package as an administrator does.
func (r *router) install(file string) {
	r.Mesh.Helper()
	r.Run("apt-get", "install", "--quiet", "--yes", "--no-install-recommends", file)
}

// install installs the first package. That starts, enables and says as little as it can.
func install(r *router) {
	r.Mesh.Helper()
	r.install("/root/cygnet.deb")
	for _, unit := range []string{"cygnetd.service", "cygnet-guard.service"} {
		if state := r.show(unit, "ActiveState"); state != "inactive" {
			r.Mesh.Errorf("after the installation %s is %s", unit, state)
		}
	}
	if enabled, _ := r.Try("systemctl", "is-enabled", "cygnetd.service"); enabled != "disabled\n" {
		r.Mesh.Errorf("after the installation the daemon is %s", enabled)
	}
}

// faulty is a configuration that the daemon refuses.
const faulty = "nothing = \"that the daemon knows\"\n"

// reloads reloads the daemon: with another setting, and with a faulty file. That makes systemctl
// fail and changes nothing.
func reloads(r *router) {
	r.Mesh.Helper()
	r.lossless("reload", func() {
		r.Interface = append(r.Interface, "fallback_delay = \"7s\"")
		r.configure()
		r.Run("systemctl", "reload", "cygnetd.service")
	})
	r.lossless("reload that fails", func() {
		before := r.pid()
		r.WriteFile(lab.CygnetConfig, 0o640, faulty)
		if out, err := r.Try("systemctl", "reload", "cygnetd.service"); err == nil {
			r.Mesh.Errorf("systemctl reload takes a faulty file:\n%s", out)
		}
		state := r.show("cygnetd.service", "ActiveState")
		if now := r.pid(); state != "active" || now != before {
			r.Mesh.Errorf("after a reload that failed the daemon is %s with process %d, was %d",
				state, now, before)
		}
	})
	r.configure()
	r.Run("systemctl", "reload", "cygnetd.service")
}

// exposure has systemd say how much of the machine a unit could reach: 0 is best, 10 worst.
func (r *router) exposure(unit string) float64 {
	r.Mesh.Helper()
	out := r.Run("systemd-analyze", "security", "--no-pager", unit)
	var level float64
	_, rest, _ := strings.Cut(out, "Overall exposure level for "+unit+":")
	if _, err := fmt.Sscan(rest, &level); err != nil {
		r.Mesh.Fatalf("the exposure of %s: %v:\n%s", unit, err, out)
	}
	return level
}

// exposures bounds the exposure of each unit. Another user than root would make the daemon less
// exposed by that measure, but could not reach charon.
func exposures(r *router) {
	r.Mesh.Helper()
	for unit, most := range map[string]float64{
		"cygnetd.service": 2.6, "cygnet-guard.service": 1.4, "cygnet-hooks.service": 2.1,
		"cygnet-web.service": 1.3,
	} {
		if level := r.exposure(unit); level > most {
			r.Mesh.Errorf("%s has an exposure of %v, want %v at most", unit, level, most)
		}
	}
	capabilities := r.show("cygnetd.service", "CapabilityBoundingSet")
	out, err := r.Try("systemd-run", "--quiet", "--pipe", "--wait", "-p", "User=nobody",
		"-p", "AmbientCapabilities="+capabilities, "-p", "CapabilityBoundingSet="+capabilities,
		"swanctl", "--stats")
	if err == nil || !strings.Contains(out, "Permission denied") {
		r.Mesh.Errorf(
			"another user with the daemon's capabilities reaches charon (%v):\n%s",
			err,
			out,
		)
	}
}

// journal has the machine lose its SA with the hub, and reads that in systemd's journal as an
// administrator does: by unit, by priority, by peer, and with the explanations of the catalog.
func journal(r *router) {
	r.Mesh.Helper()
	const peer = "CYGNET_PEER=hub.example.net"
	read := func(args ...string) string {
		out, _ := r.Try("journalctl", append([]string{"--no-pager", "--quiet", "-o", "short"},
			args...)...)
		return out
	}
	sas := r.Hub.Charon.With(r.Public)
	r.Hub.Run("swanctl", "--terminate", "--ike-id", sas[len(sas)-1].ID)
	const lost = "peer lost its SA"
	r.Await("the journal has the loss among the unit's warnings", soon, func() error {
		out := read("--unit", "cygnetd", "--priority", "warning", peer)
		return lab.True(strings.Contains(out, lost), "want %q, have:\n%s", lost, out)
	})
	const registered = "registered with the NHS"
	for what, test := range map[string]struct {
		args         []string
		want, except string
	}{
		"the unit":     {[]string{"-u", "cygnetd"}, registered, ""},
		"its warnings": {[]string{"-u", "cygnetd", "-p", "warning"}, lost, registered},
		"the peer":     {[]string{peer}, registered, ""},
		"another peer": {[]string{"CYGNET_PEER=spoke2.example.net"}, "", "peer"},
		"another unit": {[]string{"-u", "strongswan", "CYGNET_EVENT=peer-lost"}, "", lost},
		"the explanation": {[]string{"-x", "-u", "cygnetd", "CYGNET_EVENT=peer-lost"},
			"Subject: A peer lost its SA", ""},
	} {
		out := read(test.args...)
		if !strings.Contains(out, test.want) ||
			test.except != "" && strings.Contains(out, test.except) {
			r.Mesh.Errorf("%s: journalctl %q: want %q and not %q, have:\n%s",
				what, test.args, test.want, test.except, out)
		}
	}
	r.joined()
}

// watchdog has the daemon hang. systemd kills and restarts it, and traffic goes on.
func watchdog(r *router) {
	r.Mesh.Helper()
	// The daemon's own 30 s would make the test longer, and nothing else different.
	r.dropIn("watchdog", "[Service]\nWatchdogSec=10s\n")
	r.Run("systemctl", "restart", "cygnetd.service")
	r.joined()
	r.lossless("watchdog", func() {
		before := r.pid()
		if err := syscall.Kill(before, syscall.SIGSTOP); err != nil {
			r.Mesh.Fatalf("stop the daemon: %v", err)
		}
		r.Await("the watchdog has the daemon restarted", later, func() error {
			now := r.pid()
			return lab.True(
				now != 0 && now != before && r.show("cygnetd.service", "ActiveState") == "active",
				"process %d, then %d, %s, %s",
				before,
				now,
				r.show("cygnetd.service", "ActiveState"),
				r.show("cygnetd.service", "Result"),
			)
		})
	})
}

// crashes has the daemon crash, once and for good. systemd restarts it after the first crash. It
// gives up a daemon that crashes again and again, and traffic goes on.
func crashes(r *router) {
	r.Mesh.Helper()
	// The unit's own 20 starts, five seconds apart, would take as long as the rest of the test.
	r.dropIn("restart", "[Unit]\nStartLimitBurst=5\n[Service]\nRestartSec=100ms\n")
	r.Run("systemctl", "reset-failed", "cygnetd.service")
	r.lossless("crash", func() {
		before := r.pid()
		if err := syscall.Kill(before, syscall.SIGSEGV); err != nil {
			r.Mesh.Fatalf("have the daemon crash: %v", err)
		}
		r.Await("the daemon is back after a crash", soon, func() error {
			now := r.pid()
			return lab.True(
				now != 0 && now != before && r.show("cygnetd.service", "ActiveState") == "active",
				"process %d, then %d",
				before,
				now,
			)
		})
	})
	r.lossless("crash loop", func() {
		r.WriteFile(lab.CygnetConfig, 0o640, faulty)
		if err := syscall.Kill(r.pid(), syscall.SIGKILL); err != nil {
			r.Mesh.Fatalf("kill the daemon: %v", err)
		}
		r.Await("systemd gives up", later, func() error {
			state, result := r.show(
				"cygnetd.service",
				"ActiveState",
			), r.show(
				"cygnetd.service",
				"NRestarts",
			)
			return lab.True(state == "failed", "the daemon is %s after %s restarts", state, result)
		})
		r.configure()
		r.Run("systemctl", "reset-failed", "cygnetd.service")
		r.Run("systemctl", "start", "cygnetd.service")
	})
	r.joined()
}

// charons restarts charon and replaces it by the older kind.
func charons(r *router) {
	r.Mesh.Helper()
	r.Run("systemctl", "restart", "strongswan.service")
	r.joined()
	r.Run("systemctl", "disable", "--quiet", "--now", "strongswan.service")
	r.Run("systemctl", "enable", "--quiet", "--now", "strongswan-starter.service")
	r.joined()
	if out := r.Run("swanctl", "--list-sas"); !strings.Contains(out, "ESTABLISHED") {
		r.Mesh.Errorf("the older charon has no SA:\n%s", out)
	}
	if out := r.Run("pgrep", "-x", "charon"); strings.TrimSpace(out) == "" {
		r.Mesh.Errorf("the older charon does not run")
	}
}

// dropIn adds a file to the daemon's unit.
func (r *router) dropIn(name, text string) {
	r.Mesh.Helper()
	r.WriteFile("/etc/systemd/system/cygnetd.service.d/"+name+".conf", 0o644, text)
	r.Run("systemctl", "daemon-reload")
}

// removal boots the machine, whose daemon is enabled, and removes the package. The removal says
// goodbye; a purge leaves nothing but the keys.
func removal(_ *testing.T, r *router) {
	r.Hub.Start()
	r.boot()
	own := newSite(r)
	own.begin()
	r.joined()
	r.shows("/api/v1/status", `"interfaces":[{"name":"gre1"`)
	r.Await("the hooks run", soon, func() error {
		state := r.show("cygnet-hooks.service", "ActiveState")
		return lab.True(state == "active", "their unit is %s", state)
	})
	r.Run("apt-get", "remove", "--quiet", "--yes", "cygnet")
	for _, unit := range []string{"cygnet-web.service", "cygnet-hooks.service"} {
		if state := r.show(unit, "ActiveState"); state != "inactive" {
			r.Mesh.Errorf("after the removal %s is %s", unit, state)
		}
	}
	if out, err := r.Try("ip", "link", "show", "gre1"); err == nil {
		r.Mesh.Errorf("the tunnel is there after the removal:\n%s", out)
	}
	if n := len(r.Guards()); n > 0 {
		r.Mesh.Errorf("%d policies block GRE after the removal", n)
	}
	r.Await("the hub has no SA with the machine", soon, func() error {
		sas := r.Hub.Charon.With(r.Public)
		return lab.True(len(sas) == 0, "%+v", sas)
	})
	r.Run("apt-get", "purge", "--quiet", "--yes", "cygnet")
	for path, want := range map[string]bool{
		"/var/lib/cygnet": false, "/var/lib/cygnet-hooks": false,
		"/etc/cygnet/cygnet.toml": false, "/etc/cygnet/gre1.psk": true,
	} {
		if _, err := os.Stat(path); (err == nil) != want {
			r.Mesh.Errorf("after the purge %s is there: %v", path, err == nil)
		}
	}
	if out := r.Run("systemctl", "list-units", "--failed", "--no-legend"); out != "" {
		r.Mesh.Errorf("units that failed:\n%s", out)
	}
	own.untouched()
	r.encrypted()
}
