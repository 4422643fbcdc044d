//go:build lab

package kernel

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"cygnet/kernel/datapath"
	"cygnet/kernel/kerneltest"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/tunnel"
	"cygnet/kernel/xfrm"
)

// A function that returns an error has closed what it opened: the numbers of descriptors and of
// goroutines are as before. This matters because the daemon tries most of these again and again.
func TestFailuresLeaveNothingOpen(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.IP(t, "link add taken0 type dummy")
	kerneltest.GREDevice(t, "gre9", 9)
	loopback := 1
	gre9 := kerneltest.LinkNamed(t, "gre9").Index
	kerneltest.Run(t, "tc", "qdisc", "add", "dev", "gre9", "ingress") // excludes clsact
	group, err := datapath.Attach(kerneltest.Log(t), datapath.Config{
		Device: "gre9", Index: gre9, Mode: datapath.ModeNFLOG, Redirect: true, Group: 2000,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	run := func(name string) func() error {
		return func() error {
			return tunnel.New(tunnel.Config{
				Name: name, Underlay: "under0", Protected: true,
				Addresses: []netip.Prefix{netip.MustParsePrefix("10.255.0.1/24")},
			}, kerneltest.Log(t)).Run(t.Context(), func(tunnel.State) {})
		}
	}
	unprivileged := func(f func() error) func() error {
		return func() (err error) {
			kerneltest.WithCapabilities(t, nil, func() { err = f() })
			return err
		}
	}
	for name, fails := range map[string]func() error{
		"a tunnel whose name is taken": run("taken0"),
		"a tunnel without permission":  unprivileged(run("gre1")),
		"a socket on another device": func() error {
			return second(nhrpsocket.Listen(loopback, 0x2001))
		},
		"a socket on no device": func() error {
			return second(nhrpsocket.Listen(9999, 0x2001))
		},
		"a socket without permission": unprivileged(func() error {
			return second(nhrpsocket.Listen(gre9, 0x2001))
		}),
		"programs that cannot be attached": func() error {
			return attachErr(t, "gre9", gre9, datapath.ModeEBPF, 0)
		},
		"programs without permission": unprivileged(func() error {
			return attachErr(t, "gre9", gre9, datapath.ModeEBPF, 0)
		}),
		"programs on a device that is gone": func() error {
			return attachErr(t, "gre8", 8888, datapath.ModeEBPF, 0)
		},
		"NFLOG's group taken": func() error {
			return attachErr(t, "gre9", gre9, datapath.ModeNFLOG, 2000)
		},
		"a guard without permission": unprivileged(func() error {
			return xfrm.EnsureGuard(netip.MustParseAddr("198.51.100.1"))
		}),
		"the address of no device": func() error {
			r, err := rtnl.Open()
			if err != nil {
				return err
			}
			defer r.Close()
			return second(r.UnderlayAddresses("none0", rtnl.Underlay{}))
		},
		"ESP states without permission": unprivileged(func() error {
			return second(xfrm.ESPStates(netip.MustParseAddr("198.51.100.1")))
		}),
		"the release of guards without it": unprivileged(func() error {
			return second(tunnel.ReleaseGuards())
		}),
	} {
		t.Run(name, func(t *testing.T) {
			const rounds = 2
			if err := fails(); err == nil {
				t.Fatal("no error")
			}
			files, goroutines := descriptors(t), runtime.NumGoroutine()
			for range rounds {
				_ = fails()
			}
			kerneltest.Eventually(t, fmt.Sprintf("no more than %d descriptors and %d goroutines are left", files, goroutines), func() bool {
				return descriptors(t) <= files && runtime.NumGoroutine() <= goroutines
			})
		})
	}
}

func second[T any](_ T, err error) error { return err }

func attachErr(t *testing.T, device string, index int, mode string, group uint16) error {
	path, err := datapath.Attach(kerneltest.Log(t), datapath.Config{
		Device:   device,
		Index:    index,
		Mode:     mode,
		Redirect: true,
		Group:    group,
	})
	if err == nil {
		return path.Close()
	}
	return err
}

// descriptors returns how many descriptors this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
