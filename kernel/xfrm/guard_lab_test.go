//go:build lab

package xfrm

import (
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cygnet/kernel/kerneltest"
)

// xfrmStat reads one of the kernel's IPsec counters.
func xfrmStat(t *testing.T, name string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/net/xfrm_stat")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(name + `\s+(\d+)`).FindStringSubmatch(string(b))
	if m == nil {
		t.Fatalf("no %s in %s", name, b)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// The guard stops GRE in clear in both directions, over IPv4 and IPv6. It leaves other traffic
// alone, and can be set and removed any number of times.
func TestGuard(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	peer := kerneltest.PeerNamespace(t)
	for _, c := range []struct{ local, underlay, inner, device string }{
		{"198.51.100.1", "198.51.100.2", "10.255.0", "gre1"},
		{"2001:db8::1", "2001:db8::2", "10.255.6", "gre6"},
	} {
		local := netip.MustParseAddr(c.local)
		out := func() bool { return exec.Command("ping", "-c1", "-W1", c.inner+".2").Run() == nil }
		in := func() bool {
			return exec.Command(
				"ip", "netns", "exec", peer, "ping", "-c1", "-W1", c.inner+".1",
			).Run() == nil
		}
		if !out() || !in() {
			t.Fatalf("%s: GRE does not pass even without a guard", c.device)
		}
		for range 2 {
			if err := EnsureGuard(local); err != nil {
				t.Fatal(err)
			}
		}
		if n := strings.Count(kerneltest.IP(t, "xfrm policy"), local.String()+"/"); n != 2 {
			t.Errorf("%s: %d policies, want 2:\n%s", c.device, n, kerneltest.IP(t, "xfrm policy"))
		}
		here, there := kerneltest.Received(t, "", c.device), kerneltest.Received(t, peer, c.device)
		blockedOut, blockedIn := xfrmStat(t, "XfrmOutPolBlock"), xfrmStat(t, "XfrmInPolBlock")
		if out() || in() {
			t.Errorf("%s: a ping got through the guard", c.device)
		}
		if now := kerneltest.Received(t, peer, c.device); now != there {
			t.Errorf("%s: the peer received %d packets in clear", c.device, now-there)
		}
		if now := kerneltest.Received(t, "", c.device); now != here {
			t.Errorf("%s: %d packets in clear were taken in", c.device, now-here)
		}
		if n := xfrmStat(t, "XfrmOutPolBlock") - blockedOut; n < 1 {
			t.Errorf("%s: %d packets blocked on the way out, want 1 or more", c.device, n)
		}
		if n := xfrmStat(t, "XfrmInPolBlock") - blockedIn; n < 1 {
			t.Errorf("%s: %d packets blocked on the way in, want 1 or more", c.device, n)
		}
		kerneltest.Run(t, "ping", "-c1", "-W1", c.underlay)

		for range 2 {
			if err := RemoveGuard(local); err != nil {
				t.Fatal(err)
			}
		}
		if !out() || !in() {
			t.Errorf("%s: GRE does not pass after the guard was removed", c.device)
		}
	}
}

// A policy with the guard's selector may exist already. If it demands IPsec, it guards the address,
// too, and stays. If it lets packets pass, the guard replaces it.
func TestGuardAmongPolicies(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	local := netip.MustParseAddr("198.51.100.1")
	kerneltest.IP(t, "xfrm policy add dir out src 198.51.100.1/32 dst 0.0.0.0/0 proto gre priority 399999 tmpl proto esp mode transport reqid 7")
	kerneltest.IP(t, "xfrm policy add dir in src 0.0.0.0/0 dst 198.51.100.1/32 proto gre priority 100")
	if err := EnsureGuard(local); err != nil {
		t.Fatal(err)
	}
	kerneltest.Shows(t, "xfrm policy show dir out", "tmpl", "reqid 7", "-action block")
	kerneltest.Shows(t, "xfrm policy show dir in", "action block priority 500000", "-priority 100")
	if err := RemoveGuard(local); err != nil {
		t.Fatal(err)
	}
	kerneltest.Shows(t, "xfrm policy", "reqid 7", "-action block")
}

// The front guard blocks GRE that another program's policy would let pass, in both directions. It
// is removed while the policy of an SA comes behind it, and set again afterwards. It ends by itself
// if it is not renewed. The guard behind it is there at all times, as older versions expect.
func TestFrontGuard(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	peer := kerneltest.PeerNamespace(t)
	local := netip.MustParseAddr("198.51.100.1")
	for _, bypass := range []string{
		"add dir out src 198.51.100.0/24 dst 198.51.100.0/24 priority 175423",
		"add dir in src 198.51.100.0/24 dst 198.51.100.0/24 priority 175423",
	} {
		kerneltest.IP(t, "xfrm policy "+bypass)
	}
	out := func() bool { return exec.Command("ping", "-c1", "-W1", "10.255.0.2").Run() == nil }
	in := func() bool {
		return exec.Command(
			"ip", "netns", "exec", peer, "ping", "-c1", "-W1", "10.255.0.1",
		).Run() == nil
	}
	ensure := func(wanted, want bool) {
		t.Helper()
		if err := EnsureGuard(local); err != nil {
			t.Fatal(err)
		}
		if front, err := EnsureFront(local, wanted); err != nil || front != want {
			t.Fatalf("the front guard is there: %v, want %v; %v", front, want, err)
		}
		kerneltest.Shows(t, "xfrm policy show dir in", "dst 198.51.100.1/32", "priority 500000")
		kerneltest.Shows(t, "xfrm policy show dir out", "src 198.51.100.1/32", "priority 500000")
	}
	front := func() int { return strings.Count(kerneltest.IP(t, "xfrm policy"), "action block priority 2000") }

	ensure(false, false)
	if !out() || !in() {
		t.Fatal("GRE does not pass by the policy in front of the guard")
	}
	ensure(true, true)
	before := kerneltest.Received(t, peer, "gre1")
	if out() || in() {
		t.Error("a ping got past the front guard")
	}
	if n := kerneltest.Received(t, peer, "gre1") - before; n != 0 {
		t.Errorf("the peer received %d packets in clear", n)
	}
	if n := front(); n != 4 {
		t.Errorf("%d policies, want two halves for each direction:\n%s", n, kerneltest.IP(t, "xfrm policy"))
	}
	kerneltest.Shows(t, "-s xfrm policy show dir in", "hard 150(sec)")

	for name, sa := range map[string]string{
		"an SA's":            "dir out src 198.51.100.1/32 dst 198.51.100.9/32 proto gre priority 366975 tmpl proto esp mode transport reqid 7",
		"an SA's with marks": "dir in src 198.51.100.9/32 dst 198.51.100.1/32 proto gre mark 5 priority 300000 tmpl proto esp mode transport reqid 7",
		"that of all hosts":  "dir out src 198.51.100.1/32 dst 0.0.0.0/0 priority 2000 tmpl proto esp mode transport reqid 7",
	} {
		kerneltest.IP(t, "xfrm policy add "+sa)
		ensure(true, false)
		if n := front(); n != 0 {
			t.Errorf("%d policies are in front of %s", n, name)
		}
		kerneltest.IP(t,
			"xfrm policy del "+strings.Split(strings.Split(sa, " priority")[0], " tmpl")[0])
		ensure(true, true)
	}
	for name, other := range map[string]string{
		"an SA's in front of it":       "dir out src 198.51.100.1/32 dst 198.51.100.9/32 proto gre priority 1999 tmpl proto esp mode transport reqid 7",
		"that of other traffic":        "dir out src 198.51.100.1/32 dst 198.51.100.9/32 proto tcp priority 366975 tmpl proto esp mode transport reqid 7",
		"that of another address":      "dir out src 198.51.100.8/32 dst 198.51.100.9/32 proto gre priority 366975 tmpl proto esp mode transport reqid 7",
		"one that takes clear packets": "dir in src 198.51.100.9/32 dst 198.51.100.1/32 proto gre priority 366975 tmpl proto esp mode transport reqid 7 level use",
	} {
		kerneltest.IP(t, "xfrm policy add "+other)
		if front, err := EnsureFront(local, true); err != nil || !front {
			t.Errorf("it steps back for %s: %v", name, err)
		}
		kerneltest.IP(t, "xfrm policy del "+strings.Split(other, " priority")[0])
	}

	ensure(false, false)
	begun := time.Now()
	if there, err := ensureFront(local, true, time.Second); err != nil || !there {
		t.Fatalf("the front guard for a second is there: %v; %v", there, err)
	}
	// The kernel first looks at the age of a policy after a second.
	if n := front(); n != 4 && time.Since(begun) < time.Second/2 {
		t.Fatalf("%d policies in front", n)
	}
	kerneltest.Eventually(t, "the front guard ends by itself", func() bool { return front() == 0 })
	ensure(true, true)
	if err := RemoveGuard(local); err != nil {
		t.Fatal(err)
	}
	kerneltest.Shows(t, "xfrm policy", "-action block")
}
