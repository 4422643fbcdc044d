package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// landed lists where both packages install what. "DEB" and "RPM" mark what only one of them has.
const landed = `
-rw-r----- /etc/cygnet/cygnet.toml
-rw-r--r-- /etc/iproute2/rt_protos.d/cygnet.conf
DEB -rw-r--r-- /lib/systemd/system/cygnet-guard.service
DEB -rw-r--r-- /lib/systemd/system/cygnet-hooks.service
DEB -rw-r--r-- /lib/systemd/system/cygnet-web.service
DEB -rw-r--r-- /lib/systemd/system/cygnetd.service
-rwxr-xr-x /usr/bin/cygnet
-rw-r--r-- /usr/lib/systemd/catalog/cygnet.catalog
RPM -rw-r--r-- /usr/lib/systemd/system/cygnet-guard.service
RPM -rw-r--r-- /usr/lib/systemd/system/cygnet-hooks.service
RPM -rw-r--r-- /usr/lib/systemd/system/cygnet-web.service
RPM -rw-r--r-- /usr/lib/systemd/system/cygnetd.service
-rw-r--r-- /usr/lib/sysusers.d/cygnet.conf
-rwxr-xr-x /usr/sbin/cygnetd
-rw-r--r-- /usr/share/bash-completion/completions/cygnet
-rw-r--r-- /usr/share/doc/cygnet/ARCHITECTURE.md
RPM -rw-r--r-- /usr/share/doc/cygnet/CHANGELOG.md
-rw-r--r-- /usr/share/doc/cygnet/CONTRIBUTING.md
-rw-r--r-- /usr/share/doc/cygnet/LICENSE
-rw-r--r-- /usr/share/doc/cygnet/LICENSES.libraries
-rw-r--r-- /usr/share/doc/cygnet/README.md
-rw-r--r-- /usr/share/doc/cygnet/SECURITY.md
DEB -rw-r--r-- /usr/share/doc/cygnet/changelog.gz
-rw-r--r-- /usr/share/doc/cygnet/copyright
-rw-r--r-- /usr/share/doc/cygnet/doc/api.md
-rw-r--r-- /usr/share/doc/cygnet/doc/authorize.md
-rw-r--r-- /usr/share/doc/cygnet/doc/comparison.md
-rw-r--r-- /usr/share/doc/cygnet/doc/decisions.md
-rw-r--r-- /usr/share/doc/cygnet/doc/events.md
-rw-r--r-- /usr/share/doc/cygnet/doc/glossary.md
-rw-r--r-- /usr/share/doc/cygnet/doc/limits.md
-rw-r--r-- /usr/share/doc/cygnet/doc/metrics.md
-rw-r--r-- /usr/share/doc/cygnet/doc/monitoring.md
-rw-r--r-- /usr/share/doc/cygnet/doc/openapi.json
-rw-r--r-- /usr/share/doc/cygnet/doc/operations.md
-rw-r--r-- /usr/share/doc/cygnet/doc/packages.md
-rw-r--r-- /usr/share/doc/cygnet/doc/peer-and-shortcut.md
-rw-r--r-- /usr/share/doc/cygnet/doc/pictures/web-hub-dark.png
-rw-r--r-- /usr/share/doc/cygnet/doc/pictures/web-hub-light.png
-rw-r--r-- /usr/share/doc/cygnet/doc/pictures/web-spoke-dark.png
-rw-r--r-- /usr/share/doc/cygnet/doc/pictures/web-spoke-light.png
-rw-r--r-- /usr/share/doc/cygnet/doc/recipes/central-breakout.md
-rw-r--r-- /usr/share/doc/cygnet/doc/recipes/dual-cloud.md
-rw-r--r-- /usr/share/doc/cygnet/doc/recipes/front-door-vrf.md
-rw-r--r-- /usr/share/doc/cygnet/doc/recipes/ipv6-only.md
-rw-r--r-- /usr/share/doc/cygnet/doc/recipes/overlays-in-vrfs.md
-rw-r--r-- /usr/share/doc/cygnet/doc/recipes/several-overlays.md
-rw-r--r-- /usr/share/doc/cygnet/doc/recipes/several-uplinks.md
-rw-r--r-- /usr/share/doc/cygnet/doc/recipes/split-breakout.md
-rw-r--r-- /usr/share/doc/cygnet/doc/recipes.md
-rw-r--r-- /usr/share/doc/cygnet/doc/routing.md
-rw-r--r-- /usr/share/doc/cygnet/doc/running.md
-rw-r--r-- /usr/share/doc/cygnet/doc/testing.md
-rw-r--r-- /usr/share/doc/cygnet/doc/threat-model.md
-rw-r--r-- /usr/share/doc/cygnet/doc/tuning.md
-rw-r--r-- /usr/share/doc/cygnet/doc/walks.md
-rw-r--r-- /usr/share/doc/cygnet/doc/web.md
-rwxr-xr-x /usr/share/doc/cygnet/examples/authorize/cygnet-authorize
-rw-r--r-- /usr/share/doc/cygnet/examples/authorize/cygnet-authorize.service
-rw-r--r-- /usr/share/doc/cygnet/examples/authorize/cygnet-authorize.socket
-rw-r--r-- /usr/share/doc/cygnet/examples/authorize/routers.txt
-rw-r--r-- /usr/share/doc/cygnet/examples/bird/ebgp-hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/bird/ebgp-spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/bird/hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/bird/ospf-hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/bird/ospf-spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/bird/ospf6-hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/bird/ospf6-spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/bird/reflector-hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/bird/reflector-spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/bird/spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/cygnet/hub.toml
-rw-r--r-- /usr/share/doc/cygnet/examples/cygnet/linked-hub.toml
-rw-r--r-- /usr/share/doc/cygnet/examples/cygnet/spoke.toml
-rw-r--r-- /usr/share/doc/cygnet/examples/cygnet/two-clouds-spoke.toml
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/ebgp-hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/ebgp-spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/linked-hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/nhrpd-hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/nhrpd-spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/ospf-hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/ospf-spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/ospf6-hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/ospf6-spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/pim-hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/pim-spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/reflector-hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/reflector-spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/two-clouds-spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/two-hubs-hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/frr/two-hubs-spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/grafana/cygnet.json
-rw-r--r-- /usr/share/doc/cygnet/examples/keepalived/hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/pmacct/hub.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/pmacct/spoke.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/prometheus/cygnet-metrics.service
-rw-r--r-- /usr/share/doc/cygnet/examples/prometheus/cygnet-metrics.timer
-rw-r--r-- /usr/share/doc/cygnet/examples/prometheus/cygnet.rules.yml
-rw-r--r-- /usr/share/doc/cygnet/examples/prometheus/prometheus.yml
-rw-r--r-- /usr/share/doc/cygnet/examples/snmpd/cygnet.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/swanctl/charon-cygnet.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/swanctl/charon-vrf.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/swanctl/cygnet.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/swanctl/existing.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/swanctl/frr.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/swanctl/hub.toml
-rwxr-xr-x /usr/share/doc/cygnet/examples/swanctl/make-certificates
-rw-r--r-- /usr/share/doc/cygnet/examples/swanctl/spoke.toml
-rw-r--r-- /usr/share/doc/cygnet/examples/sysctl/60-cygnet.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/sysctl/61-cygnet-vrf.conf
-rw-r--r-- /usr/share/doc/cygnet/examples/systemd/strongswan-vrf.conf
-rw-r--r-- /usr/share/doc/cygnet/reference.toml
-rw-r--r-- /usr/share/fish/vendor_completions.d/cygnet.fish
DEB -rw-r--r-- /usr/share/lintian/overrides/cygnet
-rw-r--r-- /usr/share/man/man1/cygnet.1.gz
-rw-r--r-- /usr/share/man/man5/cygnet.toml.5.gz
-rw-r--r-- /usr/share/man/man8/cygnetd.8.gz
RPM -rw-r--r-- /usr/share/zsh/site-functions/_cygnet
DEB -rw-r--r-- /usr/share/zsh/vendor-completions/_cygnet
`

// wanted returns the lines of landed for one format.
func wanted(format string) []string {
	var all []string
	for line := range strings.Lines(strings.TrimSpace(landed)) {
		line = strings.TrimSpace(line)
		if only, rest, _ := strings.Cut(line, " "); only == "DEB" || only == "RPM" {
			if only != format {
				continue
			}
			line = rest
		}
		all = append(all, line)
	}
	return all
}

// unpack unpacks the files of a deb into a new folder.
func unpack(t *testing.T, deb string) (root string) {
	t.Helper()
	root = t.TempDir()
	output(t, "dpkg-deb", "-x", deb, root)
	return root
}

// listing lists the files below root in the form of landed. It also shows the owner of a file if
// that is not root.
func listing(t *testing.T, root string, skip ...string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		if slices.Contains(skip, name) {
			return fs.SkipDir
		}
		if e.IsDir() {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s %s", info.Mode(), name)
		if owner := info.Sys().(*syscall.Stat_t); int(owner.Uid) != os.Geteuid() ||
			int(owner.Gid) != os.Getegid() {
			line += fmt.Sprintf(" of %d:%d", owner.Uid, owner.Gid)
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDebLandsWhereItShould(t *testing.T) {
	b := testBuild(t)
	deb, _ := b.make(t)
	if diff := cmp.Diff(wanted("DEB"), listing(t, unpack(t, deb))); diff != "" {
		t.Errorf("wanted (-), in the deb (+):\n%s", diff)
	}
}

func TestRPMLandsWhereItShould(t *testing.T) {
	b := testBuild(t)
	_, rpm := b.make(t)
	output(t, "rpm", "-K", "--nosignature", rpm)
	root := t.TempDir()
	output(t, "rpm", "--root", root, "--dbpath", "/rpmdb", "-i", "--nodeps", "--noscripts", "--nosignature", rpm)
	if diff := cmp.Diff(wanted("RPM"), listing(t, root, "/rpmdb")); diff != "" {
		t.Errorf("wanted (-), installed by rpm (+):\n%s", diff)
	}
	flags := output(t, "rpm", "-qp", "--qf", `[%{FILEFLAGS:fflags} %{FILENAMES}\n]`, rpm)
	for _, config := range []string{"/etc/cygnet/cygnet.toml", "/etc/iproute2/rt_protos.d/cygnet.conf"} {
		if !strings.Contains(flags, "cn "+config+"\n") {
			t.Errorf("%s is not config(noreplace):\n%s", config, flags)
		}
	}
}

// The installed programs are the ones that were built.
func TestProgramsAreTheBuiltOnes(t *testing.T) {
	b := testBuild(t)
	deb, _ := b.make(t)
	root := unpack(t, deb)
	if got := output(t, filepath.Join(root, "usr/sbin/cygnetd")); got != "cygnetd\n" {
		t.Errorf("/usr/sbin/cygnetd says %q", got)
	}
	if got := output(t, filepath.Join(root, "usr/bin/cygnet")); got != "cygnet\n" {
		t.Errorf("/usr/bin/cygnet says %q", got)
	}
}

// The packages recommend only what Debian and Fedora have. They require nothing, since the programs
// are static.
func TestDependencies(t *testing.T) {
	b := testBuild(t)
	deb, rpm := b.make(t)
	recommended := output(t, "dpkg-deb", "-f", deb, "Recommends")
	for _, name := range []string{"charon-systemd | strongswan-charon", "strongswan-swanctl"} {
		if !strings.Contains(recommended, name) {
			t.Errorf("the deb recommends %q, without %s", recommended, name)
		}
	}
	if required := output(t, "dpkg-deb", "-f", deb, "Depends"); strings.TrimSpace(required) != "" {
		t.Errorf("the deb requires %q", required)
	}
	if recommended := output(
		t, "rpm", "-qp", "--recommends", rpm,
	); !strings.Contains(recommended, "strongswan\n") {
		t.Errorf("the rpm recommends %q", recommended)
	}
}

// Every file of contrib is one of the packages' examples.
func TestExamplesAreComplete(t *testing.T) {
	var all []string
	err := filepath.WalkDir("../contrib", func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Ext(path) != ".go" {
			all = append(all, strings.TrimPrefix(path, "../contrib/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(name string) bool { return name == "cygnet/reference.toml" })
	if diff := cmp.Diff(all, examples); diff != "" {
		t.Errorf("in contrib (-), in the packages (+):\n%s", diff)
	}
}

// The packages contain the license of every library in the programs.
func TestLibraryLicenses(t *testing.T) {
	b := testBuild(t)
	deb, _ := b.make(t)
	text := read(t, filepath.Join(unpack(t, deb), "usr/share/doc/cygnet", libraryLicenses))
	modules := output(t, "go", "version", "-m", filepath.Join(programs, "cygnetd"))
	found := 0
	for line := range strings.Lines(modules) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "dep" {
			continue
		}
		found++
		if !strings.Contains(text, "==== "+fields[1]+" "+fields[2]+", ") {
			t.Errorf("no license of %s %s", fields[1], fields[2])
		}
	}
	if found < 5 || !strings.Contains(text, "==== Go's standard library, LICENSE") {
		t.Errorf("%d libraries found in cygnetd:\n%s", found, modules)
	}
}

// lintian, Debian's own checker, finds nothing wrong with the package of the real programs.
// packaging/lintian/overrides has the reason for every finding that it is told to ignore.
func TestLintian(t *testing.T) {
	out := t.TempDir()
	if err := run(
		build{root: "..", bin: programs, arch: "amd64"}, "0.1.0+git20261129.abcdef0", out,
	); err != nil {
		t.Fatal(err)
	}
	deb := filepath.Join(out, "cygnet_0.1.0+git20261129.abcdef0_amd64.deb")
	if said := output(t, "lintian", "--allow-root", "--fail-on", "error,warning", deb); said != "" {
		t.Errorf("lintian says:\n%s", said)
	}
}

// Every document and every picture is in the packages.
func TestGuidesAreComplete(t *testing.T) {
	for _, files := range []string{"doc/*.md", "doc/recipes/*.md", "doc/pictures/*.png"} {
		folder := filepath.Dir(files)
		found, err := filepath.Glob("../" + files)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			if !slices.Contains(guides, folder+"/"+filepath.Base(name)) {
				t.Errorf("%s is not in the packages", name)
			}
		}
	}
}
