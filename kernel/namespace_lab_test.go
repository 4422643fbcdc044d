//go:build lab

package kernel

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ownNamespace has the rest of the test run in a process of its own in a new network namespace, as the daemon is in one. It returns
// false in the process that only waits for that one.
func ownNamespace(t testing.TB) bool {
	t.Helper()
	const mark = "CYGNET_TEST_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		ip(t, "link set lo up")
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

// ip runs iproute2 and returns what it prints.
func ip(t testing.TB, args string) string {
	t.Helper()
	return run(t, "ip", strings.Fields(args)...)
}

// ipBatch runs many ip commands at once, all of them even if one fails.
func ipBatch(lines []string) (string, error) {
	cmd := exec.Command("ip", "-force", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// eventually waits for a condition that follows from netlink events within moments.
func eventually(t testing.TB, what string, holds func() bool) {
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

// shows waits until the output of an ip command has all of the words that begin without a dash, and none of the others.
func shows(t testing.TB, args string, words ...string) {
	t.Helper()
	var out string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last seen of ip %s:\n%s", args, out)
		}
	})
	eventually(t, fmt.Sprintf("ip %s shows %q", args, words), func() bool {
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

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
