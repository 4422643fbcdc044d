//go:build lab

// Package systemd has the tests on a machine of its own: Debian with a real systemd as process 1,
// real units, packages and a real network service. Each test boots a copy of the machine's root, as
// often as it has phases. So these tests run on the host, unlike all others with the tag lab.
//
// The test program itself is a service of that machine, too. It makes the other routers and the
// underlay, with package lab, before anything else on the machine sets up the network; the machine
// is spoke1 of that mesh.
package systemd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// soon and later are how long the tests wait for something, as in package scenario.
const (
	soon  = 30 * time.Second
	later = 120 * time.Second
)

// phaseVariable names the phase of the test for which the machine was booted. It is not set on the
// host.
const phaseVariable = "CYGNET_TEST_PHASE"

// phase is what a test does between a boot of the machine and its end.
type phase struct {
	name string
	run  func(t *testing.T, r *router)
}

// boots runs a test's phases, each in a machine that boots with the files that the phase before
// left.
func boots(t *testing.T, prepare func(m *machine), phases ...phase) {
	t.Helper()
	if name := os.Getenv(phaseVariable); name != "" {
		for _, p := range phases {
			if p.name == name {
				p.run(t, newRouter(t))
			}
		}
		return
	}
	m := newMachine(t)
	prepare(m)
	for _, p := range phases {
		started := time.Now()
		m.boot(p.name)
		t.Logf("%s: %s", p.name, time.Since(started).Round(100*time.Millisecond))
	}
}

// machine is a machine's files, on the host.
type machine struct {
	*testing.T
	project string
	root    string
}

// newMachine copies the root that 'make deps' made. The machine has networkd, and an address for
// its underlay.
func newMachine(t *testing.T) *machine {
	t.Helper()
	project, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(project, "test/out/machine/root")
	if _, err := os.Stat(made); err != nil {
		t.Fatalf("%v: 'make deps' makes it", err)
	}
	if _, err := os.Stat("/usr/bin/linux.uml"); err != nil {
		t.Fatalf(
			"%v: this test boots a machine by itself, so it runs on the host, without -exec",
			err,
		)
	}
	m := &machine{T: t, project: project, root: filepath.Join(t.TempDir(), "root")}
	m.host("cp", "-a", made, m.root)
	m.host("systemctl", "--quiet", "--root="+m.root, "enable", "systemd-networkd.service")
	m.write("/etc/systemd/network/eth0.network",
		"[Match]\nName=eth0\n[Network]\nAddress=192.0.2.11/24\nLinkLocalAddressing=no\n")
	return m
}

// host runs a command on the host, in the project's directory.
func (m *machine) host(name string, args ...string) string {
	m.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = m.project
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// write writes a file of the machine.
func (m *machine) write(name, text string) {
	m.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.Fatal(err)
	}
}

// addPackage makes a deb of the programs in bin, and puts it into the machine as /root/NAME.deb.
func (m *machine) addPackage(name, version string) {
	m.Helper()
	out := m.TempDir()
	m.host("go", "run", "-C", "packaging", ".", "-version", version, "-only", "deb",
		"-bin", "../bin", "-out", out)
	m.host("cp", fmt.Sprintf("%s/cygnet_%s_amd64.deb", out, version), m.root+"/root/"+name+".deb")
}

// boot boots the machine for a phase, in which this test program runs there as a service. boot
// returns when the machine is off. A phase that fails fails the test.
func (m *machine) boot(phase string) {
	m.Helper()
	program, err := os.Executable()
	if err != nil {
		m.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(m.project, "test/uml/run"), "/host"+program,
		"-test.run=^"+m.Name()+"$", "-test.v", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), "UML_ROOT="+m.root, "UML_TIME=660", phaseVariable+"="+phase)
	out, err := cmd.CombinedOutput()
	m.Logf("%s:\n%s", phase, out)
	if err != nil {
		m.Fatalf("%s: %v", phase, err)
	}
}

// router is the machine that this test program runs on, in its mesh.
type router struct {
	*lab.Mesh
	*lab.Site
}

// newRouter makes the mesh around the machine. Nothing but the underlay runs yet, and the boot
// waits until Ready is called.
func newRouter(t *testing.T) *router {
	t.Helper()
	m := lab.NewMesh(t, lab.Spoke1OnMachine())
	return &router{m, m.Spoke1}
}

// boot lets the machine's boot go on and waits for its end.
func (r *router) boot() {
	r.Mesh.Helper()
	r.Ready()
	r.Await("the machine has booted", later, func() error {
		out, err := r.Try("systemctl", "is-system-running")
		return lab.True(err == nil, "it is %s", strings.TrimSpace(out))
	})
}

// show returns a property of a unit.
func (r *router) show(unit, property string) string {
	r.Mesh.Helper()
	return strings.TrimSpace(r.Run("systemctl", "show", "--property="+property, "--value", unit))
}

// pid returns the process ID of the daemon, or 0.
func (r *router) pid() int {
	r.Mesh.Helper()
	pid, _ := strconv.Atoi(r.show("cygnetd.service", "MainPID"))
	return pid
}

// configure does what the administrator does after the installation.
func (r *router) configure() {
	r.Mesh.Helper()
	r.WriteFile("/etc/cygnet/gre1.psk", 0o600, r.PSK+"\n")
	r.WriteFile(lab.CygnetConfig, 0o640, r.Config())
}

// joined waits until the machine is registered and hosts reach each other through the tunnel.
func (r *router) joined() {
	r.Mesh.Helper()
	r.Await("the kernels of hub and machine know the way to each other", later, func() error {
		at, hub := r.Hub.Neighbors("gre1")[r.Overlay], r.Neighbors("gre1")[r.Hub.Overlay]
		return lab.True(at == r.Public && hub == r.Hub.Public, "they have %v and %v", at, hub)
	})
	r.SetRoutes()
	r.Await(
		"hosts reach each other",
		later,
		func() error { return r.Site.Host.Reaches(r.Hub.Host.Addr) },
	)
}

// lossless runs a step under traffic and fails the test if a packet of that traffic is lost.
func (r *router) lossless(step string, f func()) {
	r.Mesh.Helper()
	flow := r.Site.Host.Flow(r.Hub.Host.Addr, 50*time.Millisecond)
	begun := time.Now()
	flow.Back(begun, soon)
	f()
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(begun); lost > 0 {
		r.Mesh.Errorf(
			"%s: %d of %d packets were lost, the longest gap is %v",
			step,
			lost,
			sent,
			longest,
		)
	} else {
		r.Mesh.Logf("%s: 0 of %d packets were lost", step, sent)
	}
	flow.Stop()
}

// encrypted fails the test if GRE was on the underlay in clear.
func (r *router) encrypted() {
	r.Mesh.Helper()
	if n := r.Underlay.Count(lab.OfKind(lab.GRE)); n != 0 {
		r.Mesh.Errorf("%d GRE packets were on the underlay in clear", n)
	}
	if n := r.Underlay.Count(lab.OfKind(lab.ESP)); n == 0 {
		r.Mesh.Errorf("no ESP was on the underlay")
	}
}
