package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// check runs `cygnet check --offline` of this source tree on a configuration.
func check(t *testing.T, text string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cygnet.toml")
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(programs, "cygnet"), "check", "--offline",
		path).CombinedOutput()
	return string(out), err
}

// The configuration as installed is valid and configures no interface.
func TestShippedConfigurationStartsNothing(t *testing.T) {
	b := testBuild(t)
	deb, _ := b.make(t)
	text := read(t, filepath.Join(unpack(t, deb), "etc/cygnet/cygnet.toml"))
	out, err := check(t, text)
	if err != nil || !strings.Contains(out, "no interface") {
		t.Errorf("cygnet check: %v\n%s", err, out)
	}
	for line := range strings.Lines(text) {
		if line != "\n" && !strings.HasPrefix(line, "#") {
			t.Errorf("not a comment: %q", line)
		}
	}
}

// Its two examples work once their "#" is removed, as its text says, and the key exists.
func TestShippedConfigurationsExamples(t *testing.T) {
	psk := filepath.Join(t.TempDir(), "gre1.psk")
	if err := os.WriteFile(psk, []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, examples, _ := strings.Cut(read(t, "etc/cygnet.toml"), "# A spoke:\n")
	spoke, hub, ok := strings.Cut(examples, "# A hub:\n")
	if !ok {
		t.Fatal("there are no two examples")
	}
	for role, text := range map[string]string{"spoke": spoke, "hub": hub} {
		text = strings.ReplaceAll("\n"+text, "\n#", "\n")
		out, err := check(t, strings.ReplaceAll(text, "/etc/cygnet/gre1.psk", psk))
		if err != nil || !strings.Contains(out, "protected by IPsec") || strings.Contains(out, "warning") {
			t.Errorf("%s: %v\n%s", role, err, out)
		}
	}
}

// The number that names the daemon's routes for iproute2 is the one that the daemon uses.
func TestRouteProtocolNumber(t *testing.T) {
	var name string
	for line := range strings.Lines(read(t, "etc/rt_protos.conf")) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[1] == "cygnet" {
			name = fields[0]
		}
	}
	if !strings.Contains(read(t, "../kernel/rtnl/rtnl.go"), "\nconst Protocol = "+name+"\n") {
		t.Errorf("rt_protos.conf names %q, which is not the number in kernel.go", name)
	}
}

func TestYAMLExamples(t *testing.T) {
	for _, name := range examples {
		if filepath.Ext(name) != ".yml" {
			continue
		}
		var content map[string]any
		if err := yaml.Unmarshal([]byte(read(t, "../contrib/"+name)), &content); err != nil ||
			len(content) == 0 {
			t.Errorf("%s: %v, %d keys", name, err, len(content))
		}
	}
}
