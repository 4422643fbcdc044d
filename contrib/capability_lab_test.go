//go:build lab

package contrib

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/multicast"
	"cygnet/nhrpd/api"
	"cygnet/test/lab"

	"golang.org/x/sys/unix"
)

// capabilities returns the capabilities that the systemd unit gives the daemon, as setpriv writes
// them.
func capabilities(t *testing.T) []string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.+)$`).
		FindStringSubmatch(read(t, "../packaging/systemd/cygnetd.service"))
	if m == nil {
		t.Fatal("the unit has no CapabilityBoundingSet")
	}
	return strings.Fields(strings.ToLower(strings.ReplaceAll(m[1], "CAP_", "")))
}

// confined starts the daemon of a hub with the given capabilities only. It waits until the daemon
// works or complains, and returns the daemon's status and output.
func confined(t *testing.T, net *lab.Net, name string, allowed []string) (
	r *lab.Router, status api.Status, said string,
) {
	t.Helper()
	r = net.Router(name, lab.Addr("198.51.100.1/24"))
	r.Sysctl("net.ipv4.conf.all.send_redirects=1")
	r.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key that the routers of a test share\n")
	r.WriteFile("/etc/cygnet/cygnet.toml", 0o640,
		"[daemon]\napi_group = \"adm\"\n"+read(t, "cygnet/hub.toml"))
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	set := "-all"
	for _, c := range allowed {
		set += ",+" + c
	}
	r.Charon()
	daemon := r.Start("cygnetd", nil, "setpriv",
		"--no-new-privs",
		"--bounding-set", set,
		filepath.Join(root, "bin/cygnetd"))
	net.Await("the tunnel of "+name, 30*time.Second, func() error {
		if !daemon.Alive() || refused(daemon.Output()) {
			return nil
		}
		if err := r.CygnetJSON(&status, "status"); err != nil {
			return err
		}
		return lab.True(len(status.Interfaces) == 1 &&
			status.StrongSwan.Connected &&
			(status.Interfaces[0].Error != "" ||
				status.Interfaces[0].Up && status.Interfaces[0].Sampling != ""),
			"%+v", status)
	})
	return r, status, daemon.Output()
}

// refused reports whether the daemon's output says that the kernel denied the daemon something.
func refused(said string) bool {
	return strings.Contains(said, "not permitted") || strings.Contains(said, "ermission")
}

// The capabilities of the systemd unit are enough for all that the daemon does: the tunnel and its
// guard, the packet socket, the eBPF programs, the sysctls, and the group of the API's socket.
func TestCapabilitiesOfTheUnitAreEnough(t *testing.T) {
	net := lab.New(t)
	r, status, said := confined(t, net, "hub", capabilities(t))
	if refused(said) {
		t.Errorf("the daemon lacks a capability:\n%s", said)
	}
	net.Await("the filters against clear GRE are on the underlay's device", 30*time.Second,
		func() error {
			var now api.Status
			if err := r.CygnetJSON(&now, "status"); err != nil {
				return err
			}
			c := now.Interfaces[0].ClearGRE
			return lab.True(c != nil && c.Error == "" && slices.Contains(c.Devices, "eth0"),
				"the status says %+v", c)
		})
	i := status.Interfaces[0]
	if !i.Up || i.Error != "" || i.Sampling != api.SamplingEBPF {
		t.Errorf("the interface is %+v\n%s", i, said)
	}
	if len(r.Guards()) == 0 {
		t.Error("no policy blocks clear GRE")
	}
	if redirects := r.Run("cat", "/proc/sys/net/ipv4/conf/all/send_redirects"); redirects != "0\n" {
		t.Errorf("send_redirects is %s", redirects)
	}
	info, err := os.Stat(r.Path("/run/cygnet/cygnet.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if group := info.Sys().(*syscall.Stat_t).Gid; group != 4 {
		t.Errorf("the socket's group is %d, want adm (4)", group)
	}
}

// The programs that replicate multicast load with the capabilities of the systemd unit, which are
// not those of a program that the verifier lets have loops.
func TestMulticastLoadsWithTheCapabilitiesOfTheUnit(t *testing.T) {
	numbers := map[string]int{
		"net_admin": unix.CAP_NET_ADMIN, "net_raw": unix.CAP_NET_RAW, "bpf": unix.CAP_BPF,
		"chown": unix.CAP_CHOWN,
	}
	var allowed []int
	for _, name := range capabilities(t) {
		n, known := numbers[name]
		if !known {
			t.Fatalf("the unit has CAP_%s, which this test does not know", strings.ToUpper(name))
		}
		allowed = append(allowed, n)
	}
	kerneltest.WithCapabilities(t, allowed, func() {
		if err := multicast.Probe(); err != nil {
			t.Error(err)
		}
	})
	kerneltest.WithCapabilities(t, nil, func() {
		if err := multicast.Probe(); err == nil {
			t.Error("they load without any capability")
		}
	})
}

// The systemd unit gives the daemon no capability that the daemon does not need. If one of them is
// missing, the kernel denies the daemon something, or the interface does not work.
func TestCapabilitiesOfTheUnitAreNeeded(t *testing.T) {
	all := capabilities(t)
	for n, without := range all {
		t.Run(without, func(t *testing.T) {
			rest := append(append([]string{}, all[:n]...), all[n+1:]...)
			_, status, said := confined(t, lab.New(t), "hub", rest)
			works := len(status.Interfaces) == 1 &&
				status.Interfaces[0].Error == "" &&
				status.Interfaces[0].Sampling == api.SamplingEBPF
			if works && !refused(said) {
				t.Errorf("the daemon does not need it:\n%s", said)
			}
		})
	}
}
