//go:build lab

package scenario

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"cygnet/test/lab"
)

// secret is a PSK of the lab that is easy to find.
const secret = "Tr0ub4dor-and-3-more-words"

// shows reports whether a text has the secret in it, in any of the forms that programs print.
func shows(text string) bool {
	raw := []byte(secret)
	for _, form := range []string{secret, hex.EncodeToString(raw),
		strings.ToUpper(hex.EncodeToString(raw)), base64.StdEncoding.EncodeToString(raw)[:32],
		"84 114 48 117"} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

// The PSK is in nothing that the daemon and the command line print, at any level and about any
// fault, and in nothing that the daemon writes or shows to other processes. charon's log does not
// have it either.
func TestSecretsStayIn(t *testing.T) {
	m := lab.NewMesh(t)
	for _, s := range m.Sites() {
		s.PSK = secret
	}
	m.Add(`authentication = "nhrp-pw"`)
	m.Spoke2.PSK = "another one than the others have"
	m.Start()
	registered(m, m.Spoke1, soon)
	m.Await("spoke2 gets no SA", soon, func() error {
		return logged(m.Spoke2, "could not be secured")
	})
	m.Spoke2.WriteFile("/etc/cygnet/gre1.psk", 0o600, secret+"\n")
	m.Spoke2.Daemon.Signal(syscall.SIGHUP)
	registered(m, m.Spoke2, later)

	for _, s := range m.Sites() {
		said := map[string]string{"log": s.Daemon.Output(), "charon": s.Charon.Output()}
		for _, words := range []string{"status", "peers", "bindings", "sas", "nhs", "--json status",
			"check", "--json check"} {
			said["cygnet "+words], _ = s.TryCygnet(strings.Fields(words)...)
		}
		said["metrics"] = metrics(t, s)
		s.Cygnet("report", "-w", "/run/report.tar.gz")
		said["cygnet report"] = s.Run("tar", "-xzOf", "/run/report.tar.gz")
		if !contains(said["cygnet report"], `authentication = "(secret)"`, "<<Keys hidden>>",
			"dynamic[gre") {
			t.Errorf("%s: the report has\n%s", s.Name, said["cygnet report"])
		}
		for _, file := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.Daemon.Pid()), file))
			if err != nil {
				t.Fatal(err)
			}
			said[file] = string(b)
		}
		s.Daemon.Terminate()
		said["saved state"] = s.Run("sh", "-c", "cat /var/lib/cygnet/*")
		for what, text := range said {
			if text == "" && what != "environ" && what != "charon" {
				t.Errorf("%s: nothing in %s", s.Name, what)
			}
			if shows(text) || strings.Contains(text, "nhrp-pw") {
				t.Errorf("%s: the secret is in %s:\n%s", s.Name, what, text)
			}
		}
	}
}

// A daemon that crashes leaves no core, whatever the limits. With CYGNETD_CORE=1 it leaves one, and
// the PSK is in that core, which shows what there is to lose.
func TestNoCore(t *testing.T) {
	m := lab.NewMesh(t)
	s := m.Spoke1
	s.PSK = secret
	s.Start()
	restore, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil {
		t.Fatal(err)
	}
	corePattern(t, "/run/core")
	t.Cleanup(func() { corePattern(t, string(restore)) })
	unlimited := syscall.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	// The daemon inherits the limit.
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &unlimited); err != nil {
		t.Fatal(err)
	}

	s.Daemon.Terminate()
	for _, c := range []struct {
		variable string
		core     bool
	}{{"CYGNETD_CORE=0", false}, {"CYGNETD_CORE=1", true}} {
		s.Daemon.Env = []string{c.variable, "GOTRACEBACK=crash"}
		s.Daemon.Start()
		s.Daemon.Signal(syscall.SIGABRT)
		s.Daemon.Wait(soon)
		cores, err := filepath.Glob(s.Path("/run/core*"))
		if err != nil || c.core != (len(cores) == 1) {
			t.Fatalf("with %s there are %d cores, %v", c.variable, len(cores), err)
		}
		if !c.core {
			continue
		}
		core, err := os.ReadFile(cores[0])
		if err != nil || !shows(string(core)) {
			t.Errorf("the PSK is not in the core of %d bytes (%v): this test would not see it anywhere",
				len(core), err)
		}
	}
}

// corePattern sets the kernel's pattern for the names of cores.
func corePattern(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/kernel/core_pattern", []byte(text), 0o644); err != nil {
		t.Error(err)
	}
}

// metrics returns what the daemon shows to Prometheus.
func metrics(t *testing.T, s *lab.Site) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.Path(lab.CygnetSocket))
		},
	}}
	defer client.CloseIdleConnections()
	answer, err := client.Get("http://cygnet/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
