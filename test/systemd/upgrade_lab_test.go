//go:build lab

package systemd

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cygnet/test/lab"
)

// release is a release of Cygnet, and the commit that it was made of.
const (
	release       = "0.1.0"
	releaseCommit = "f6b31520ab71a77deb74d17aa4b4625f74e0a9f8"
)

// buildRelease builds the programs of the release from its commit. It returns the folder of the
// sources, whose folder bin has the programs.
func buildRelease(m *machine) (tree string) {
	m.Helper()
	tree = filepath.Join(m.TempDir(), "tree")
	m.host("sh", "-ec", fmt.Sprintf(`
		mkdir %[1]s && git archive %[2]s | tar -x -C %[1]s
		export CGO_ENABLED=0
		cd %[1]s
		go build -trimpath -ldflags '-s -w -X cygnet/nhrpd/api.Version=%[3]s' -o bin/ ./cmd/cygnetd ./cmd/cygnet
	`, tree, releaseCommit, release))
	return tree
}

// addRelease makes the deb of the release, and puts it into the machine as /root/old.deb.
func (m *machine) addRelease() {
	m.Helper()
	out := m.TempDir()
	m.host("sh", "-ec", fmt.Sprintf(`
		export CGO_ENABLED=0 SOURCE_DATE_EPOCH=$(git log -1 --format=%%ct %[2]s)
		go run -C %[1]s/packaging . -version %[3]s -bin ../bin -out %[4]s
	`, buildRelease(m), releaseCommit, release, out))
	m.host("cp", fmt.Sprintf("%s/cygnet_%s_amd64.deb", out, release), m.root+"/root/old.deb")
}

// A machine with the release before, under a hub of this version, is upgraded, and later
// downgraded, each with apt-get and under traffic. Nothing is lost, and the site's own IPsec is
// left alone. The units of the new package can reach less of the machine than the old ones. The new
// daemon reads the state of the old one; the old one starts without that of the new, says so, and
// goes on with what kernel and charon have.
func TestUpgrade(t *testing.T) {
	boots(t, func(m *machine) {
		m.addRelease()
		m.addPackage("new", strings.TrimSpace(m.host("packaging/describe")))
	}, phase{"upgrade", upgrade})
}

// upgrade is the only phase of TestUpgrade.
func upgrade(_ *testing.T, r *router) {
	r.boot()
	own := newSite(r)
	own.begin()
	r.install("/root/old.deb")
	r.Hub.Start()
	r.configure()
	r.Run("systemctl", "enable", "--quiet", "--now", "cygnetd.service")
	r.joined()
	r.runs(release + " ")
	before, exposed := r.spis(), r.exposed()

	r.lossless("upgrade", func() { r.install("/root/new.deb") })
	r.joined()
	r.runs(release + "+git")
	if log := r.log(); strings.Contains(log, "starting without the saved state") {
		r.Mesh.Errorf("the new daemon does not read the state of %s:\n%s", release, log)
	}

	for unit, now := range r.exposed() {
		if was := exposed[unit]; now >= was {
			r.Mesh.Errorf("%s had an exposure of %v and has %v, want less", unit, was, now)
		} else {
			r.Mesh.Logf("%s had an exposure of %v and has %v", unit, was, now)
		}
	}

	r.lossless("downgrade", func() {
		r.Run("apt-get", "install", "--quiet", "--yes", "--no-install-recommends",
			"--allow-downgrades", "/root/old.deb")
	})
	r.joined()
	r.runs(release + " ")
	if log := r.log(); !strings.Contains(log, "starting without the saved state") {
		r.Mesh.Errorf("%s says nothing of the state that it cannot read:\n%s", release, log)
	}
	if after := r.spis(); len(before) != 2 || !slices.Equal(after, before) {
		r.Mesh.Errorf("the SAs with the hub and the site's router were %q and are %q",
			before, after)
	}
	own.untouched()
	r.encrypted()
}

// spis returns the SPIs of all IKE_SAs, sorted.
func (r *router) spis() (all []string) {
	r.Mesh.Helper()
	for _, found := range established.FindAllStringSubmatch(r.Run("swanctl", "--list-sas"), -1) {
		all = append(all, found[1])
	}
	slices.Sort(all)
	return all
}

// exposed returns the exposure of each unit that both releases start with the daemon.
func (r *router) exposed() map[string]float64 {
	r.Mesh.Helper()
	all := map[string]float64{}
	for _, unit := range []string{"cygnetd.service", "cygnet-guard.service"} {
		all[unit] = r.exposure(unit)
	}
	return all
}

// runs waits until the daemon that answers has a version that begins so.
func (r *router) runs(version string) {
	r.Mesh.Helper()
	r.Await("the daemon of "+version+" runs", soon, func() error {
		out, err := r.Try("cygnet", "version")
		return lab.True(err == nil && strings.Contains(out, "cygnetd "+version), "%v: %s", err, out)
	})
}

// log returns what the daemon that runs has logged.
func (r *router) log() string {
	r.Mesh.Helper()
	r.Run("journalctl", "--sync") // journald may not have taken yet what the daemon wrote
	return r.Run("journalctl", "--boot", "--no-pager", fmt.Sprintf("_PID=%d", r.pid()))
}
