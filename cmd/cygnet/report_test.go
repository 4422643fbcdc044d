package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Secrets that must not be in a report.
const (
	plantedPSK      = "Tr0ub4dor-and-3"
	plantedPassword = "nhrp-pw1"
)

// planted writes a configuration with secrets in all places where somebody may have one.
func planted(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	psk := filepath.Join(dir, "gre1.psk")
	for name, text := range map[string]string{
		psk: plantedPSK + "\n",
		filepath.Join(dir, "cygnet.toml"): `# the password is ` + plantedPassword + `
[interface.gre1]
address = "10.255.0.11/24"
underlay = "eth0"
nhs = [{ nbma = "192.0.2.1" }]
authentication = "` + plantedPassword + `"
pasword = "` + plantedPSK + `"
[interface.gre1.ipsec]
psk_file = "` + psk + `"
`,
		filepath.Join(dir, "conf.d", "50-site.toml"): "[log]\nlevel = \"debug\" # " + plantedPSK + "\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cygnet.toml")
}

// unpack returns the files of a report.
func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(header.Name, "cygnet-report/")
		if !ok || header.Mode != 0o600 {
			t.Errorf("%s has mode %o", header.Name, header.Mode)
		}
		files[name] = string(text)
	}
}

// leaking runs programs that print a secret in the forms that there are.
func leaking(_ context.Context, name string, args ...string) ([]byte, error) {
	psk := []byte(plantedPSK)
	switch command := strings.Join(append([]string{name}, args...), " "); command {
	case "ip -s xfrm policy":
		return []byte("policy " + plantedPSK), nil
	case "ip address":
		return []byte(plantedPassword), nil
	case "swanctl --list-sas":
		return []byte("0x" + hex.EncodeToString(psk)), nil
	case "swanctl --list-conns":
		return []byte(strings.ToUpper(hex.EncodeToString(psk))), nil
	case "swanctl --list-certs":
		return []byte(base64.StdEncoding.EncodeToString(psk)), nil
	case "swanctl --stats":
		return nil, fmt.Errorf("cannot be run with %s", plantedPSK)
	case "uname -a":
		return nil, errors.New("exec: \"uname\": executable file not found in $PATH")
	case "ip rule":
		return make([]byte, mostOfAPart+1), nil
	default:
		return []byte(command), nil
	}
}

// reportOf makes a report, and returns its files and what the command printed.
func reportOf(t *testing.T, socket string) (files map[string]string, out string) {
	t.Helper()
	ev := alone
	ev.program = leaking
	path := filepath.Join(t.TempDir(), "r.tar.gz")
	args := []string{"--socket", socket, "report", "-w", path, "--config", planted(t)}
	var stdout, stderr strings.Builder
	clock := func() time.Time { return now }
	code := run(t.Context(), args, &stdout, &stderr, clock, machine, ev)
	if code != exitOK {
		t.Fatalf("exit code %d\n%s%s", code, &stdout, &stderr)
	}
	files = unpack(t, path)
	for name, text := range files {
		for _, secret := range []string{plantedPSK, plantedPassword,
			hex.EncodeToString([]byte(plantedPSK))} {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is in %s:\n%s", name, text)
			}
		}
	}
	return files, stdout.String() + stderr.String()
}

// A report has what it says, and no secret: the configuration is shown without them, and what has
// one in it is left out.
func TestReport(t *testing.T) {
	files, out := reportOf(t, start(t, &daemon{status: spoke()}))
	for name, want := range map[string]string{
		"CONTENTS":                   "kernel/version.txt           the kernel (exec:",
		"status.txt":                 "cygnetd 1.2.3",
		"status.json":                `"version": "1.2.3"`,
		"metrics.txt":                "cygnet_build_info",
		"check.txt":                  "pasword: unknown key",
		"configuration/cygnet.toml":  `authentication = "(secret)"`,
		"configuration/50-site.toml": `level = "debug"`,
		"kernel/states.txt":          "ip -s xfrm state list nokeys",
		"kernel/routes.txt":          "ip route show table all",
		"log/cygnetd.txt":            "-u cygnetd",
	} {
		if text, ok := files[name]; !ok || !strings.Contains(text, want) {
			t.Errorf("%s: %v, want %q in\n%s", name, ok, want, text)
		}
	}
	for _, name := range []string{"kernel/policies.txt", "kernel/addresses.txt", "charon/sas.txt",
		"charon/connections.txt", "charon/certificates.txt", "charon/stats.txt"} {
		if text, there := files[name]; there {
			t.Errorf("%s is there although a secret was in it: %s", name, text)
		}
	}
	if n := strings.Count(files["CONTENTS"], "left out: it has a secret"); n != 6 {
		t.Errorf("%d files were left out, want 6:\n%s", n, files["CONTENTS"])
	}
	if n := len(files["kernel/rules.txt"]); n != mostOfAPart ||
		!strings.Contains(files["CONTENTS"], "cut off after") {
		t.Errorf("a part has %d bytes", n)
	}
	if !strings.Contains(out, "no pre-shared keys") || strings.Contains(out, plantedPSK) {
		t.Errorf("the command printed\n%s", out)
	}
}

// Without a daemon a report has the rest, and says what is missing.
func TestReportWithoutADaemon(t *testing.T) {
	files, _ := reportOf(t, filepath.Join(t.TempDir(), "none.sock"))
	if !strings.Contains(files["CONTENTS"], "not running") || files["kernel/routes.txt"] == "" {
		t.Errorf("it has %q\n%s", slices.Collect(maps.Keys(files)), files["CONTENTS"])
	}
}

// A report is its owner's alone, and replaces no file.
func TestReportReplacesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.tar.gz")
	args := []string{"--socket", start(t, &daemon{status: spoke()}), "--json", "report",
		"-w", path, "--config", planted(t)}
	ev := alone
	ev.program = leaking
	for _, want := range []int{exitOK, exitError} {
		var stdout, stderr strings.Builder
		clock := func() time.Time { return now }
		code := run(t.Context(), args, &stdout, &stderr, clock, machine, ev)
		if code != want {
			t.Errorf("exit code %d, want %d\n%s%s", code, want, &stdout, &stderr)
		}
		if want == exitOK && !strings.Contains(stdout.String(), `"file": "`+path+`"`) {
			t.Errorf("it printed %s", &stdout)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
