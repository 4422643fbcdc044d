//go:build lab

package tunnel

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"cygnet/kernel/kerneltest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// FindUnderlay finds the routes of an underlay's table, the VRF, the device in it, and whether the
// socket on IKE's port is in the VRF.
func TestUnderlay(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	near, far := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("203.0.113.2")
	c := UnderlayConfig{Device: "under0", Table: 100}
	finds := func(step string, want Underlay) {
		t.Helper()
		got, err := FindUnderlay(c, []netip.Addr{near, far})
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if diff := cmp.Diff(want, got, byValue); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	finds("no table", Underlay{V4: UnderlayRoutes{Used: true, Unrouted: []netip.Addr{near, far}}})
	c.Device = "under1"
	finds("no device", Underlay{
		NoAddress: true, V4: UnderlayRoutes{Used: true, Unrouted: []netip.Addr{near, far}},
	})
	c.Device = "under0"
	kerneltest.IP(t, "route add 198.51.100.0/24 dev under0 table 100")
	kerneltest.IP(t, "route add unreachable default metric 4278198272 table 100")
	finds("a network", Underlay{
		V4: UnderlayRoutes{Used: true, Barred: true, Unrouted: []netip.Addr{far}},
	})
	kerneltest.IP(t, "route add default via 198.51.100.254 table 100")
	finds("a default route", Underlay{V4: UnderlayRoutes{Used: true, Barred: true, Default: true}})

	far6 := netip.MustParseAddr("2001:db8:1::2")
	kerneltest.IP(t, "addr add 2001:db8::1/64 dev under0 nodad")
	both := Underlay{V4: UnderlayRoutes{Used: true, Barred: true, Default: true}}
	finds("an IPv6 address that no peer needs", both)
	near = far6
	both.V6 = UnderlayRoutes{Used: true, Unrouted: []netip.Addr{far6}}
	finds("a peer at an IPv6 address", both)
	kerneltest.IP(t, "-6 route add unreachable default metric 4278198272 table 100")
	kerneltest.IP(t, "-6 route add default dev under0 table 100")
	both.V6 = UnderlayRoutes{Used: true, Barred: true, Default: true}
	finds("a default route of IPv6", both)
	near = netip.MustParseAddr("198.51.100.2")
	kerneltest.IP(t, "addr del 2001:db8::1/64 dev under0")

	c = UnderlayConfig{Local: netip.MustParseAddr("198.51.100.1"), VRF: "inet"}
	finds("no VRF", Underlay{VRFMissing: true})
	kerneltest.IP(t, "link add inet type vrf table 100")
	kerneltest.IP(t, "link set inet up")
	want := Underlay{
		VRFTable: 100, Outside: "under0", IKE: IKENone,
		V4: UnderlayRoutes{Used: true, Barred: true, Default: true},
	}
	finds("the device outside", want)
	kerneltest.IP(t, "link set under0 master inet")
	kerneltest.IP(t, "route replace default via 198.51.100.254 table 100")
	want.Outside = ""
	finds("the device in the VRF", want)

	outside, err := net.ListenPacket("udp4", ":500")
	if err != nil {
		t.Fatal(err)
	}
	want.IKE = IKEOutside
	finds("IKE outside", want)
	outside.Close()
	bound := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) (err error) {
		failed := conn.Control(func(fd uintptr) {
			err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "inet")
		})
		if failed != nil {
			return failed
		}
		return err
	}}
	inside, err := bound.ListenPacket(context.Background(), "udp4", ":500")
	if err != nil {
		t.Fatal(err)
	}
	want.IKE = IKEInVRF
	finds("IKE in the VRF", want)
	inside.Close()
	kerneltest.Run(t, "sysctl", "-q", "-w", "net.ipv4.udp_l3mdev_accept=1")
	want.IKE, want.AcceptsVRF = IKENone, true
	finds("sockets accept the VRF", want)
}
