package main

import (
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/files"
)

// build describes what the packages are made of.
type build struct {
	root    string    // folder of the sources
	bin     string    // folder of the programs
	version string    // in the form of packageVersion
	arch    string    // in Go's words
	only    string    // the only format to make; empty: all
	mtime   time.Time // time of every file in the packages
}

const description = `Dynamic multipoint VPN for strongSwan
Makes sites with a stock strongSwan into a dynamic multipoint VPN: multipoint
GRE, NHRP (RFC 2332) and IPsec, with direct tunnels between spokes that come
when traffic wants them and go when it stops.

The daemon starts only when it is configured, enabled and started by hand.`

const maintainer = "Cygnet maintainers <maintainers@cygnet.invalid>"

// common returns what all formats have in common.
func (b *build) common() *nfpm.Info {
	return nfpm.WithDefaults(&nfpm.Info{
		Name:            "cygnet",
		Arch:            b.arch,
		Platform:        "linux",
		Version:         b.version,
		VersionSchema:   "none",
		Section:         "net",
		Priority:        "optional",
		Maintainer:      maintainer,
		Description:     description,
		License:         "Apache-2.0",
		MTime:           b.mtime,
		DisableGlobbing: true,
	})
}

func debInfo(b *build, stage string) *nfpm.Info {
	info := b.common()
	info.Contents = append(b.contents(stage, "/lib/systemd/system", "/usr/share/zsh/vendor-completions"),
		file(filepath.Join(stage, debChangelog), doc+"/"+debChangelog, 0o644),
		file(b.source("packaging/lintian/overrides"), "/usr/share/lintian/overrides/cygnet", 0o644))
	info.Recommends = []string{"charon-systemd | strongswan-charon", "strongswan-swanctl", "libstrongswan-standard-plugins", "iproute2"}
	info.Suggests = []string{
		"frr | bird2", "prometheus-node-exporter", "curl", "snmpd", "pmacct"}
	info.Scripts = nfpm.Scripts{
		PostInstall: b.source("packaging/scripts/deb/postinst"),
		PreRemove:   b.source("packaging/scripts/deb/prerm"),
		PostRemove:  b.source("packaging/scripts/deb/postrm"),
	}
	info.Deb.Compression = "gzip:9" // every dpkg can read it
	return info
}

func rpmInfo(b *build, stage string) *nfpm.Info {
	info := b.common()
	info.Contents = append(b.contents(stage, "/usr/lib/systemd/system", "/usr/share/zsh/site-functions"),
		file(b.source("CHANGELOG.md"), doc+"/CHANGELOG.md", 0o644))
	info.Recommends = []string{"strongswan", "iproute"}
	info.Suggests = []string{"frr", "bird", "golang-github-prometheus-node-exporter", "curl"}
	info.Scripts = nfpm.Scripts{
		PostInstall: b.source("packaging/scripts/rpm/post"),
		PreRemove:   b.source("packaging/scripts/rpm/preun"),
		PostRemove:  b.source("packaging/scripts/rpm/postun"),
	}
	// the name of the real host is private, and would make each build different
	info.RPM.BuildHost = "localhost"
	info.RPM.Compression = "gzip:9"
	return info
}

func rpmArch(arch string) string {
	if name, ok := map[string]string{
		"amd64": "x86_64", "arm64": "aarch64", "386": "i386",
	}[arch]; ok {
		return name
	}
	return arch
}

func (b *build) source(name string) string {
	return filepath.Join(b.root, filepath.FromSlash(name))
}

const doc = "/usr/share/doc/cygnet"

// contents lists the files of the packages: source, destination and mode.
func (b *build) contents(stage, units, zsh string) files.Contents {
	staged := func(name string) string { return filepath.Join(stage, filepath.FromSlash(name)) }
	all := files.Contents{
		file(filepath.Join(b.bin, "cygnetd"), "/usr/sbin/cygnetd", 0o755),
		file(filepath.Join(b.bin, "cygnet"), "/usr/bin/cygnet", 0o755),
		file(b.source("packaging/systemd/cygnet-guard.service"), units+"/cygnet-guard.service",
			0o644),
		file(b.source("packaging/systemd/cygnetd.service"), units+"/cygnetd.service", 0o644),
		file(b.source("packaging/systemd/cygnet.catalog"),
			"/usr/lib/systemd/catalog/cygnet.catalog", 0o644),
		file(b.source("packaging/systemd/cygnet-hooks.service"), units+"/cygnet-hooks.service",
			0o644),
		file(b.source("packaging/systemd/cygnet-web.service"), units+"/cygnet-web.service", 0o644),
		file(b.source("packaging/sysusers/cygnet.conf"), "/usr/lib/sysusers.d/cygnet.conf", 0o644),
		dir("/etc/cygnet", 0o755),
		dir("/etc/cygnet/conf.d", 0o755),
		dir("/etc/cygnet/hooks.d", 0o755),
		// The file may contain a password.
		config(b.source("packaging/etc/cygnet.toml"), "/etc/cygnet/cygnet.toml", 0o640),
		config(b.source("packaging/etc/rt_protos.conf"), "/etc/iproute2/rt_protos.d/cygnet.conf",
			0o644),
		file(b.source("packaging/completions/cygnet.bash"), "/usr/share/bash-completion/completions/cygnet", 0o644),
		file(b.source("packaging/completions/_cygnet"), zsh+"/_cygnet", 0o644),
		file(b.source("packaging/completions/cygnet.fish"), "/usr/share/fish/vendor_completions.d/cygnet.fish", 0o644),
		dir(doc, 0o755),
		file(b.source("packaging/copyright"), doc+"/copyright", 0o644),
		file(b.source("LICENSE"), doc+"/LICENSE", 0o644),
		file(b.source("README.md"), doc+"/README.md", 0o644),
		file(staged(libraryLicenses), doc+"/"+libraryLicenses, 0o644),
		file(b.source("contrib/cygnet/reference.toml"), doc+"/reference.toml", 0o644),
	}
	for _, page := range manPages {
		all = append(all,
			file(staged(page+".gz"), "/usr/share/man/man"+page[len(page)-1:]+"/"+page+".gz", 0o644))
	}
	for _, name := range guides {
		all = append(all, file(b.source(name), doc+"/"+name, 0o644))
	}
	for _, name := range examples {
		mode := fs.FileMode(0o644)
		if path.Ext(name) == "" {
			mode = 0o755 // a script
		}
		all = append(all, file(b.source("contrib/"+name), doc+"/examples/"+name, mode))
	}
	return append(all, foldersBelow(doc, all)...)
}

// foldersBelow returns the folders below a folder that files are in. A package has to have them, or
// rpm would leave them behind when it removes the package.
func foldersBelow(folder string, all files.Contents) files.Contents {
	below := map[string]bool{}
	for _, c := range all {
		for d := path.Dir(c.Destination); strings.HasPrefix(d, folder+"/"); d = path.Dir(d) {
			below[d] = true
		}
	}
	var list files.Contents
	for _, d := range slices.Sorted(maps.Keys(below)) {
		list = append(list, dir(d, 0o755))
	}
	return list
}

var manPages = []string{"cygnet.1", "cygnet.toml.5", "cygnetd.8"}

// guides lists the documents that README.md and ARCHITECTURE.md link to. They are
// installed beside them.
var guides = []string{
	"ARCHITECTURE.md",
	"CONTRIBUTING.md",
	"SECURITY.md",
	"doc/api.md",
	"doc/authorize.md",
	"doc/comparison.md",
	"doc/decisions.md",
	"doc/events.md",
	"doc/glossary.md",
	"doc/limits.md",
	"doc/metrics.md",
	"doc/monitoring.md",
	"doc/openapi.json",
	"doc/operations.md",
	"doc/packages.md",
	"doc/peer-and-shortcut.md",
	"doc/pictures/web-hub-dark.png",
	"doc/pictures/web-hub-light.png",
	"doc/pictures/web-spoke-dark.png",
	"doc/pictures/web-spoke-light.png",
	"doc/recipes.md",
	"doc/recipes/central-breakout.md",
	"doc/recipes/dual-cloud.md",
	"doc/recipes/front-door-vrf.md",
	"doc/recipes/ipv6-only.md",
	"doc/recipes/overlays-in-vrfs.md",
	"doc/recipes/several-overlays.md",
	"doc/recipes/several-uplinks.md",
	"doc/recipes/split-breakout.md",
	"doc/routing.md",
	"doc/running.md",
	"doc/testing.md",
	"doc/threat-model.md",
	"doc/tuning.md",
	"doc/walks.md",
	"doc/web.md",
}

// examples lists the files of contrib that the packages contain.
var examples = []string{
	"authorize/cygnet-authorize",
	"authorize/cygnet-authorize.service",
	"authorize/cygnet-authorize.socket",
	"authorize/routers.txt",
	"bird/ebgp-hub.conf",
	"bird/ebgp-spoke.conf",
	"bird/hub.conf",
	"bird/ospf-hub.conf",
	"bird/ospf-spoke.conf",
	"bird/ospf6-hub.conf",
	"bird/ospf6-spoke.conf",
	"bird/reflector-hub.conf",
	"bird/reflector-spoke.conf",
	"bird/spoke.conf",
	"cygnet/hub.toml",
	"cygnet/linked-hub.toml",
	"cygnet/spoke.toml",
	"cygnet/two-clouds-spoke.toml",
	"frr/ebgp-hub.conf",
	"frr/ebgp-spoke.conf",
	"frr/hub.conf",
	"frr/linked-hub.conf",
	"frr/nhrpd-hub.conf",
	"frr/nhrpd-spoke.conf",
	"frr/ospf-hub.conf",
	"frr/ospf-spoke.conf",
	"frr/ospf6-hub.conf",
	"frr/ospf6-spoke.conf",
	"frr/pim-hub.conf",
	"frr/pim-spoke.conf",
	"frr/reflector-hub.conf",
	"frr/reflector-spoke.conf",
	"frr/spoke.conf",
	"frr/two-clouds-spoke.conf",
	"frr/two-hubs-hub.conf",
	"frr/two-hubs-spoke.conf",
	"grafana/cygnet.json",
	"keepalived/hub.conf",
	"pmacct/hub.conf",
	"pmacct/spoke.conf",
	"prometheus/cygnet-metrics.service",
	"prometheus/cygnet-metrics.timer",
	"prometheus/cygnet.rules.yml",
	"prometheus/prometheus.yml",
	"snmpd/cygnet.conf",
	"swanctl/charon-cygnet.conf",
	"swanctl/charon-vrf.conf",
	"swanctl/cygnet.conf",
	"swanctl/existing.conf",
	"swanctl/frr.conf",
	"swanctl/hub.toml",
	"swanctl/make-certificates",
	"swanctl/spoke.toml",
	"sysctl/60-cygnet.conf",
	"sysctl/61-cygnet-vrf.conf",
	"systemd/strongswan-vrf.conf",
}

func file(source, destination string, mode fs.FileMode) *files.Content {
	return &files.Content{
		Source: source, Destination: destination, FileInfo: &files.ContentFileInfo{Mode: mode},
	}
}

// config returns a configuration file: an upgrade keeps the administrator's changes in it.
func config(source, destination string, mode fs.FileMode) *files.Content {
	c := file(source, destination, mode)
	c.Type = files.TypeConfigNoReplace
	return c
}

func dir(destination string, mode fs.FileMode) *files.Content {
	return &files.Content{
		Destination: destination, Type: files.TypeDir,
		FileInfo: &files.ContentFileInfo{Mode: mode},
	}
}
