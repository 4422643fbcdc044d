// Package contrib has tests only. They check that the example configurations in this folder fit
// each other, and that the programs for which they are written accept them.
package contrib

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/vici/swanctl"
)

// read returns the text of a file.
func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// load reads one of the daemon's example configurations. It fails the test if the daemon would warn
// about the configuration, or if the configuration does not have exactly one interface, with IPsec.
func load(t *testing.T, path string) *config.Interface {
	t.Helper()
	c, err := config.Parse([]byte(read(t, path)), path)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 || len(c.Interfaces) != 1 || !c.Interfaces[0].Protected {
		t.Fatalf("%s: warnings %q, interfaces %+v", path, c.Warnings, c.Interfaces)
	}
	return &c.Interfaces[0]
}

// The examples for hub and spoke in each folder fit each other. Both are in one overlay and use one
// GRE key, the spoke registers with the hub, the hub sends traffic indications, and the spoke makes
// shortcuts.
func TestHubAndSpokeFit(t *testing.T) {
	for folder, auth := range map[string]config.Auth{
		"cygnet":  config.AuthPSK,
		"swanctl": config.AuthCertificate,
	} {
		hub, spoke := load(t, folder+"/hub.toml"), load(t, folder+"/spoke.toml")
		if hub.Name != spoke.Name ||
			hub.Address.Masked() != spoke.Address.Masked() ||
			hub.Address == spoke.Address ||
			*hub.Key != *spoke.Key {
			t.Errorf("%s: hub %s %s key %d, spoke %s %s key %d", folder,
				hub.Name, hub.Address, *hub.Key, spoke.Name, spoke.Address, *spoke.Key)
		}
		if len(spoke.NHS) != 1 || spoke.NHS[0].NBMA != hub.Underlay.Address.String() {
			t.Errorf("%s: the spoke registers with %v, the hub is at %s",
				folder, spoke.NHS, hub.Underlay)
		}
		if !hub.Redirect || !spoke.Shortcut {
			t.Errorf("%s: redirect %t, shortcut %t", folder, hub.Redirect, spoke.Shortcut)
		}
		if hub.IPsec.Auth != auth ||
			spoke.IPsec.Auth != auth ||
			hub.IPsec.Identity == spoke.IPsec.Identity {
			t.Errorf("%s: hub %+v, spoke %+v", folder, hub.IPsec, spoke.IPsec)
		}
	}
}

// The examples for FRR and BIRD have the addresses and interfaces of cygnet/hub.toml and
// cygnet/spoke.toml.
func TestRoutingIsForTheseRouters(t *testing.T) {
	hub, spoke := load(t, "cygnet/hub.toml"), load(t, "cygnet/spoke.toml")
	for path, facts := range map[string][]string{
		"frr/hub.conf": {
			"bgp router-id " + hub.Address.Addr().String(),
			"bgp listen range " + hub.Address.Masked().String(),
			"match interface " + hub.Name,
		},
		"frr/spoke.conf": {
			"bgp router-id " + spoke.Address.Addr().String(),
			"neighbor " + hub.Address.Addr().String() + " remote-as",
			"match interface " + spoke.Name,
		},
		"bird/hub.conf": {
			"router id " + hub.Address.Addr().String(),
			"local " + hub.Address.Addr().String() + " as",
			"neighbor range " + hub.Address.Masked().String() + " as",
		},
		"bird/spoke.conf": {
			"router id " + spoke.Address.Addr().String(),
			"local " + spoke.Address.Addr().String() + " as",
			"neighbor " + hub.Address.Addr().String() + " as",
		},
		"frr/reflector-hub.conf": {
			"bgp router-id " + hub.Address.Addr().String(),
			"bgp listen range " + hub.Address.Masked().String(),
			"match interface " + hub.Name,
		},
		"frr/reflector-spoke.conf": {
			"bgp router-id " + spoke.Address.Addr().String(),
			"neighbor " + hub.Address.Addr().String() + " peer-group HUB",
			"match interface " + spoke.Name,
		},
		"bird/reflector-hub.conf": {
			"router id " + hub.Address.Addr().String(),
			"local " + hub.Address.Addr().String() + " as",
			"neighbor range " + hub.Address.Masked().String() + " as",
		},
		"bird/reflector-spoke.conf": {
			"router id " + spoke.Address.Addr().String(),
			"local " + spoke.Address.Addr().String() + " as",
			"neighbor " + hub.Address.Addr().String() + " as",
		},
	} {
		for _, fact := range facts {
			if !strings.Contains(read(t, path), fact) {
				t.Errorf("%s has no %q", path, fact)
			}
		}
	}
}

// FRR accepts the example configurations. vtysh checks the commands of all daemons, the daemon of
// a unicast routing protocol checks its own: pimd does not without the devices and zebra. Both exit
// with 0 on some errors, so the test also shows that they complain about a wrong configuration.
func TestFRR(t *testing.T) {
	check := func(path, daemon string) string {
		commands := [][]string{{"vtysh", "-C", "-f", path}}
		if daemon != "pimd" {
			commands = append(commands,
				[]string{"/usr/lib/frr/" + daemon, "-C", "-f", withoutOthers(t, path)})
		}
		var all []byte
		for _, command := range commands {
			c := exec.Command(command[0], command[1:]...)
			out, err := c.CombinedOutput()
			all = append(all, withoutChatter(out)...)
			if c.Process != nil { // a daemon leaves a directory for its log behind
				left := fmt.Sprintf("/var/tmp/frr/%s.%d", daemon, c.Process.Pid)
				if err := os.RemoveAll(left); err != nil {
					t.Error(err)
				}
			}
			if err != nil {
				all = append(all, err.Error()...)
			}
		}
		return string(all)
	}
	for _, path := range examples(t, "frr/*.conf") {
		path, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		daemon := "bgpd"
		switch text := read(t, path); {
		case strings.Contains(text, "\nrouter ospf\n"):
			daemon = "ospfd"
		case strings.Contains(text, "\nrouter ospf6\n"):
			daemon = "ospf6d"
		case strings.Contains(text, "\n ip pim\n"):
			daemon = "pimd"
		}
		if complaints := check(path, daemon); complaints != "" {
			t.Errorf("%s:\n%s", path, complaints)
		}
		wrong := filepath.Join(t.TempDir(), "wrong.conf")
		text := strings.Replace(read(t, path), "\n ", "\n redistribute everything\n ", 1)
		if err := os.WriteFile(wrong, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		complaints := check(wrong, daemon)
		if !strings.Contains(complaints, "redistribute everything") {
			t.Errorf("an error in %s is not found:\n%s", path, complaints)
		}
	}
}

// withoutOthers returns the path of a copy of a configuration that has no lines for bfdd and nhrpd:
// the daemon of a routing protocol takes those for errors.
func withoutOthers(t *testing.T, path string) string {
	t.Helper()
	text := regexp.MustCompile(`(?ms)^bfd\n.*?^exit\n`).ReplaceAllString(read(t, path), "")
	text = regexp.MustCompile(`(?m)^( ip )?nhrp .*\n`).ReplaceAllString(text, "")
	dir := t.TempDir()
	// FRR's daemons read their files as a user of their own.
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(copied, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return copied
}

// withoutChatter removes what is no complaint about the configuration: that vtysh cannot open its
// own settings, which are optional, how ospf6d numbers its packets, and that a daemon with this
// process number was here before and left the directory for its log.
func withoutChatter(out []byte) []byte {
	return regexp.MustCompile(`(?m)^% Can't open configuration file \S*/vtysh.conf .*\n|`+
		`^.* OSPF6: \[\S+\] Higher order sequence number .*\n?|`+
		`^.* failed to mkdir "/var/tmp/frr/\S+": File exists\n?|`+
		`^.* crashlog and per-thread log buffering unavailable!\n?`).ReplaceAll(out, nil)
}

// BIRD accepts the example configurations.
func TestBIRD(t *testing.T) {
	for _, path := range examples(t, "bird/*.conf") {
		if out, err := exec.Command(
			"/usr/sbin/bird", "-p", "-c", path,
		).CombinedOutput(); err != nil {
			t.Errorf("bird refuses %s: %v\n%s", path, err, out)
		}
	}
}

// examples returns the paths of the examples that match a pattern.
func examples(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no example matches %s: %v", pattern, err)
	}
	return paths
}

// The examples for BIRD recognize cygnetd's routes by the routing protocol number that the daemon
// gives its routes.
func TestBIRDKnowsOurRoutes(t *testing.T) {
	for _, path := range examples(t, "bird/*.conf") {
		number := regexp.MustCompile(`(?m)^define CYGNET = (\d+);`).
			FindStringSubmatch(read(t, path))
		if number == nil || !strings.Contains(
			read(t, "../kernel/rtnl/rtnl.go"),
			"\nconst Protocol = "+number[1]+"\n",
		) {
			t.Errorf("%s has %q, which is not the number in rtnl.go", path, number)
		}
	}
}

// Every line of the example for sysctl has a form that sysctl accepts. Every setting exists in this
// kernel, unless the kernel lacks the whole directory of the setting.
func TestSysctl(t *testing.T) {
	setting := regexp.MustCompile(`^([a-z0-9_.]+) = (\d+)$`)
	found := 0
	for line := range strings.Lines(read(t, "sysctl/60-cygnet.conf")) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		m := setting.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("not a setting: %q", line)
			continue
		}
		found++
		path := "/proc/sys/" + strings.ReplaceAll(m[1], ".", "/")
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
	if found < 10 {
		t.Errorf("only %d settings found", found)
	}
}

// exported returns the names of the metrics that the daemon exports.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	counts := map[string]uint64{"x": 1}
	status := &api.Status{Counters: api.Counters{Received: counts, Sent: counts, Dropped: counts}}
	var text bytes.Buffer
	if err := api.WriteMetrics(&text, status, 100); err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).
		FindAllStringSubmatch(text.String(), -1) {
		all[m[1]] = true
	}
	return all
}

// The alerts and the dashboard use only metrics that the daemon exports.
func TestMetricsExist(t *testing.T) {
	has := exported(t)
	for _, path := range []string{"prometheus/cygnet.rules.yml", "grafana/cygnet.json"} {
		asked := regexp.MustCompile(`\bcygnet_[a-z_]+`).FindAllString(read(t, path), -1)
		if len(asked) < 8 {
			t.Errorf("%s asks for %q only", path, asked)
		}
		for _, name := range asked {
			if name = strings.TrimSuffix(name, "_bucket"); !has[name] {
				t.Errorf("%s asks for %s, which the daemon does not export", path, name)
			}
		}
	}
}

// The alerts and the dashboard together use every metric that the daemon exports.
func TestMetricsAreAllUsed(t *testing.T) {
	text := read(t, "prometheus/cygnet.rules.yml") + read(t, "grafana/cygnet.json")
	for name := range exported(t) {
		if !regexp.MustCompile(`\b` + name + `(_bucket)?\b`).MatchString(text) {
			t.Errorf("neither alerts nor dashboard use %s", name)
		}
	}
}

// The dashboard is valid JSON. Its panels have different IDs, a title and a query, and fit the
// grid.
func TestDashboard(t *testing.T) {
	var dashboard struct {
		Title  string
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "grafana/cygnet.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] ||
			p.Title == "" ||
			len(p.Targets) == 0 ||
			p.Targets[0].Expr == "" ||
			p.GridPos.W == 0 ||
			p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %+v", p)
		}
		ids[p.ID] = true
	}
	if dashboard.Title == "" || len(ids) < 6 {
		t.Errorf("%q has %d panels", dashboard.Title, len(ids))
	}
}

// make-certificates gives every router a certificate that its peers accept: it is for the identity
// in the router's configuration, and from the authority that the configurations name. Only the
// owner may read the keys. A second call leaves existing certificates unchanged.
func TestMakeCertificates(t *testing.T) {
	script, err := filepath.Abs("swanctl/make-certificates")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	certify := func(names ...string) {
		cmd := exec.Command(script, names...)
		cmd.Dir = folder
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make-certificates: %v\n%s", err, out)
		}
	}
	hub, spoke := load(t, "swanctl/hub.toml"), load(t, "swanctl/spoke.toml")
	certify(hub.IPsec.Identity)
	first := read(t, filepath.Join(folder, "pki/x509", hub.IPsec.Certs[0]))
	certify(hub.IPsec.Identity, spoke.IPsec.Identity)
	if read(t, filepath.Join(folder, "pki/x509", hub.IPsec.Certs[0])) != first {
		t.Error("the second call makes another certificate for the hub")
	}
	certify("hub.example.org") // another router with the same first label
	if read(t, filepath.Join(folder, "pki/x509", hub.IPsec.Certs[0])) != first {
		t.Error("hub.example.org has taken the place of the other hub")
	}
	other := &config.IPsec{
		Identity: "hub.example.org",
		Certs:    []string{"hub.example.org.pem"},
		CACerts:  hub.IPsec.CACerts,
	}
	for _, i := range []*config.IPsec{hub.IPsec, spoke.IPsec, other} {
		authority := x509.NewCertPool()
		authority.AppendCertsFromPEM([]byte(read(t, filepath.Join(folder, "pki", i.CACerts[0]))))
		block, _ := pem.Decode([]byte(read(t, filepath.Join(folder, "pki/x509", i.Certs[0]))))
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		usage := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if _, err := certificate.Verify(x509.VerifyOptions{
			Roots:     authority,
			DNSName:   i.Identity,
			KeyUsages: usage,
		}); err != nil {
			t.Errorf("%s: %v", i.Identity, err)
		}
		info, err := os.Stat(filepath.Join(folder, "pki/private", i.Certs[0]))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key of %s: %v, %v", i.Identity, info, err)
		}
	}
	err = filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Ext(path) != ".pem" {
			t.Errorf("left over: %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The example connection for sites that already use strongSwan is one that an interface can use. It
// causes no warning.
func TestExistingConnectionFits(t *testing.T) {
	f, err := swanctl.Load("swanctl/existing.conf")
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Connection("dmvpn")
	if err != nil {
		t.Fatal(err)
	}
	template, problems := c.Template(swanctl.Tunnel{Local: netip.MustParseAddr("192.0.2.1")})
	if template == nil || len(template.Warnings) > 0 {
		t.Errorf("problems %v, template %+v", problems, template)
	}
}
