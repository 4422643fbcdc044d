//go:build lab

package kernel

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/rtnl"

	"golang.org/x/sys/unix"
)

// The lab's kernel has all features. Probe leaves nothing behind in the caller's namespace.
func TestProbe(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	features, err := Probe()
	if err != nil || len(features) != 6 {
		t.Fatalf("%+v, %v", features, err)
	}
	for _, f := range features {
		if f.Lacking != nil || f.Without == "" {
			t.Errorf("%s: %v", f.Name, f.Lacking)
		}
	}
	for _, left := range []string{
		kerneltest.IP(t, "xfrm policy"), kerneltest.IP(t, "xfrm state"),
		kerneltest.IP(t, "-o link"),
	} {
		if strings.Contains(left, "probe") || strings.Contains(left, "src") {
			t.Errorf("left behind:\n%s", left)
		}
	}
}

// A process without the permission gets ErrNoPermission, and not a list of missing features.
func TestProbeWithoutPermission(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	const nobody = 65534
	// This changes only the child process that OwnNamespace started.
	if err := errors.Join(syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
		t.Fatal(err)
	}
	features, err := Probe()
	if !errors.Is(err, rtnl.ErrNoPermission) || features != nil || errors.Is(err, unix.ENOSYS) {
		t.Errorf("%+v, %v", features, err)
	}
}
