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

// The lab's kernel has all features, those for routers at IPv6 addresses too. Probe leaves nothing
// behind in the caller's namespace.
func TestProbe(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	for overIPv6, want := range map[bool]int{false: 6, true: 9} {
		features, err := Probe(overIPv6)
		if err != nil || len(features) != want {
			t.Fatalf("over IPv6 %t: %+v, %v, want %d features", overIPv6, features, err, want)
		}
		for _, f := range features {
			if f.Lacking != nil || f.Without == "" && !f.IPv6 {
				t.Errorf("%s: %v", f.Name, f.Lacking)
			}
		}
		for _, left := range []string{
			kerneltest.IP(t, "xfrm policy"), kerneltest.IP(t, "xfrm state"),
			kerneltest.IP(t, "-o link"), kerneltest.IP(t, "rule"), kerneltest.IP(t, "-6 rule"),
		} {
			if strings.Contains(left, "probe") || strings.Contains(left, "src") ||
				strings.Contains(left, "lookup 84") {
				t.Errorf("over IPv6 %t: left behind:\n%s", overIPv6, left)
			}
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
	features, err := Probe(true)
	if !errors.Is(err, rtnl.ErrNoPermission) || features != nil || errors.Is(err, unix.ENOSYS) {
		t.Errorf("%+v, %v", features, err)
	}
}
