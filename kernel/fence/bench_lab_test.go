//go:build lab

package fence

import (
	"net/netip"
	"testing"

	"cygnet/kernel/kerneltest"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// loadPrograms loads the programs, with one address to guard.
func loadPrograms(t testing.TB, local netip.Addr) *fenceObjects {
	t.Helper()
	f := New(kerneltest.Log(t))
	if err := f.load(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.objects.Close() })
	if err := f.objects.Fenced.Put(local.As16(), fenceDropped{}); err != nil {
		t.Fatal(err)
	}
	return f.objects
}

// BenchmarkPrograms measures what the fence takes for a packet of the underlay's devices: for ESP,
// which passes, and for clear GRE, which is dropped, over IPv4 and IPv6.
func BenchmarkPrograms(b *testing.B) {
	objects := loadPrograms(b, netip.MustParseAddr("198.51.100.1"))
	local := netip.MustParseAddr("2001:db8::1").As16()
	if err := objects.Fenced.Put(local, fenceDropped{}); err != nil {
		b.Fatal(err)
	}
	for _, direction := range []struct {
		name    string
		program *ebpf.Program
	}{{"in", objects.CygnetFenceIn}, {"out", objects.CygnetFenceOut}} {
		for _, p := range []struct {
			name       string
			addr, peer string
			protocol   byte
		}{
			{"ESP", "198.51.100.1", "198.51.100.2", unix.IPPROTO_ESP},
			{"GRE", "198.51.100.1", "198.51.100.2", unix.IPPROTO_GRE},
			{"ESP6", "2001:db8::1", "2001:db8::2", unix.IPPROTO_ESP},
			{"GRE6", "2001:db8::1", "2001:db8::2", unix.IPPROTO_GRE},
		} {
			from, to := p.peer, p.addr
			if direction.program == objects.CygnetFenceOut {
				from, to = to, from
			}
			b.Run(direction.name+"/"+p.name, func(b *testing.B) {
				const dropped = 2 // TC_ACT_SHOT
				got := kerneltest.Bench(b, direction.program, ethernet(from, to, p.protocol))
				if (got == dropped) != (p.protocol == unix.IPPROTO_GRE) {
					b.Errorf("the verdict is %d", int32(got))
				}
			})
		}
	}
}

// ethernet returns an Ethernet frame with an IP packet of a protocol, whose payload begins like
// GRE.
func ethernet(from, to string, protocol byte) []byte {
	frame := append(make([]byte, 14), kerneltest.Datagram(from, to, 1300)...)
	frame[12] = 0x08
	at, payload := 14+9, 14+20
	if netip.MustParseAddr(from).Is6() {
		frame[12], frame[13], at, payload = 0x86, 0xdd, 14+6, 14+40
	}
	frame[at] = protocol
	frame[payload], frame[payload+1] = 0x20, 0 // GRE with a key
	return frame
}

// No program is longer than doc/tuning.md says.
func TestProgramsAreShort(t *testing.T) {
	objects := loadPrograms(t, netip.MustParseAddr("198.51.100.1"))
	most := kerneltest.Size{Length: 512, Verified: 1024}
	kerneltest.Short(t, "cygnet_fence_in", objects.CygnetFenceIn, most)
	kerneltest.Short(t, "cygnet_fence_out", objects.CygnetFenceOut, most)
}
