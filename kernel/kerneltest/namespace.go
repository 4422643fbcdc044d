//go:build lab

package kerneltest

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// OwnNamespace runs the test again, in a child process in a new network namespace. All threads of
// the child are in that namespace, as the daemon's are. OwnNamespace returns true in the child,
// which runs the test. It returns false in the parent, which has waited for the child and must do
// nothing more.
func OwnNamespace(t testing.TB) bool {
	t.Helper()
	const mark = "CYGNET_TEST_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		IP(t, "link set lo up")
		return true
	}
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	args := []string{"-test.v", "-test.count=1", "-test.run=" + pattern}
	if _, ok := t.(*testing.B); ok {
		args = []string{"-test.run=^$", "-test.bench=" + pattern}
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	t.Logf("in its own namespace:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// IP runs iproute2 and returns what it prints.
func IP(t testing.TB, args string) string {
	t.Helper()
	return Run(t, "ip", strings.Fields(args)...)
}

// IPBatch runs many ip commands with one call of ip. A command that fails does not stop the others.
func IPBatch(lines []string) (string, error) {
	cmd := exec.Command("ip", "-force", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Run runs a command and returns what it prints. A failure ends the test.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Eventually waits until a condition holds. It is for conditions that follow from netlink
// notifications within moments; after 15 s it ends the test.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within 15 s: %s", what)
		case <-tick.C:
		}
	}
}

// Shows waits until the output of an ip command contains all of the words. A word that begins with
// a dash must be absent, without the dash.
func Shows(t testing.TB, args string, words ...string) {
	t.Helper()
	var out string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last seen of ip %s:\n%s", args, out)
		}
	})
	Eventually(t, fmt.Sprintf("ip %s shows %q", args, words), func() bool {
		b, _ := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
		out = string(b)
		for _, w := range words {
			absent := strings.HasPrefix(w, "-")
			if strings.Contains(out, strings.TrimPrefix(w, "-")) == absent {
				return false
			}
		}
		return true
	})
}

// Log returns a logger that writes to the test's output.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// WithCapabilities runs f on a thread that has only the given capabilities.
func WithCapabilities(t *testing.T, capabilities []int, f func()) {
	t.Helper()
	var data [2]unix.CapUserData
	for _, c := range capabilities {
		data[c/32].Effective |= 1 << (c % 32)
		data[c/32].Permitted |= 1 << (c % 32)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock it, so that the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		err := unix.Capset(&header, &data[0])
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// DropNetAdmin makes the test's process an unprivileged user, so that none of its threads has
// CAP_NET_ADMIN any more. It is for a test in a process of its own (OwnNamespace).
func DropNetAdmin(t *testing.T) {
	t.Helper()
	if err := unix.Setgid(65534); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setuid(65534); err != nil {
		t.Fatal(err)
	}
}

// TXPackets returns how many packets gre1 has sent.
func TXPackets(t *testing.T) int {
	t.Helper()
	var links []struct {
		Stats struct {
			TX struct{ Packets int }
		} `json:"stats64"`
	}
	if err := json.Unmarshal(
		[]byte(IP(t, "-s -j link show gre1")), &links,
	); err != nil || len(links) != 1 {
		t.Fatal(links, err)
	}
	return links[0].Stats.TX.Packets
}

// GREDevice makes an mGRE device with ip, as a user would.
func GREDevice(t testing.TB, name string, number int) {
	t.Helper()
	IP(t, fmt.Sprintf("link add %s type gre local 198.51.100.%d key %d ttl 64",
		name, number, number))
	IP(t, fmt.Sprintf("addr add 10.255.%d.1/24 dev %s", number, name))
	IP(t, fmt.Sprintf("link set %s arp on up", name))
}

// Underlay makes under0, a dummy device that stands for the router's underlay interface.
func Underlay(t *testing.T) {
	t.Helper()
	IP(t, "link add under0 type dummy")
	IP(t, "addr add 198.51.100.1/24 dev under0")
	IP(t, "link set under0 up")
}
