//go:build lab

package datapath

import (
	"errors"
	"testing"

	"cygnet/kernel/kerneltest"

	"github.com/cilium/ebpf"
)

// BenchmarkPrograms measures what the programs take for a packet, by the kernel's own test run of a
// program (BPF_PROG_TEST_RUN), with admission and without a source check. The test run gives a
// packet a link-layer header of 14 bytes, so that here the beginning of the outer header stands
// before the inner one; the programs therefore find where the segment size is and do not write. It
// also reports how many instructions the verifier followed, and how many a program has. A
// user-mode Linux interprets the programs; a kernel with a JIT takes a fraction of the time. For
// link the packet arrived from a peer at an IPv6 address, by its device, which is lo in a test run.
func BenchmarkPrograms(b *testing.B) {
	kerneltest.LabNamespace(b)
	cfg := Config{Admission: true, Redirect: true, MSS: MSS{IPv4: 1360, IPv6: 1340}}
	cfg.setDefaults()
	objects, err := loadPath(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer objects.Close()
	const lo = uint32(1)
	if err := objects.Owners.Put(lo, bpfOwner{Name: 1, Tunnel: lo}); err != nil {
		b.Fatal(err)
	}
	data := segment{from: "172.16.11.5", to: "172.16.12.5", flags: flagACK, data: text(1300)}
	syn := data
	syn.flags, syn.options = flagSYN, append([]byte{2, 4, 0x05, 0xb4, 4, 2, 8, 10},
		make([]byte, 8)...)
	datagram := kerneltest.Datagram("172.16.11.5", "172.16.12.5", 1300)
	for _, bench := range []struct {
		name     string
		program  *ebpf.Program
		inner    []byte
		admitted bool
	}{
		{"ingress/UDP", objects.CygnetIngress, datagram, true},
		{"ingress/TCP", objects.CygnetIngress, data.packet(nil), true},
		{"ingress/SYN", objects.CygnetIngress, syn.packet(nil), true},
		{"ingress/refused", objects.CygnetIngress, datagram, false},
		{"egress/UDP", objects.CygnetEgress, datagram, true},
		{"egress/TCP", objects.CygnetEgress, data.packet(nil), true},
		{"egress/SYN", objects.CygnetEgress, syn.packet(nil), true},
		{"link", objects.CygnetLink, datagram, true},
	} {
		b.Run(bench.name, func(b *testing.B) {
			packet := framed(bench.inner)
			var from bpfAddress
			copy(from.B[10:], []byte{0xff, 0xff, packet[12], packet[13], packet[14], packet[15]})
			err := objects.Admitted.Put(from, uint32(0))
			if !bench.admitted {
				err = errors.Join(err, objects.Admitted.Delete(from))
			}
			if err != nil {
				b.Fatal(err)
			}
			kerneltest.Bench(b, bench.program, packet)
		})
	}
}

// No program is longer than doc/tuning.md says, whatever is configured: a setting only takes parts
// of a program away.
func TestProgramsAreShort(t *testing.T) {
	cfg := Config{
		Admission: true, SourceCheck: true, Redirect: true, MSS: MSS{IPv4: 1360, IPv6: 1340},
	}
	cfg.setDefaults()
	objects, err := loadPath(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer objects.Close()
	most := kerneltest.Size{Length: 4096, Verified: 16384}
	kerneltest.Short(t, "cygnet_ingress", objects.CygnetIngress, most)
	kerneltest.Short(t, "cygnet_egress", objects.CygnetEgress, most)
	most = kerneltest.Size{Length: 64, Verified: 64}
	kerneltest.Short(t, "cygnet_link", objects.CygnetLink, most)
	kerneltest.Short(t, "cygnet_unclaimed", objects.CygnetUnclaimed, most)
}

// text returns that many bytes.
func text(length int) string { return string(make([]byte, length)) }

// framed puts 14 bytes before an IPv4 packet that are the beginning of an outer IPv4 header with
// GRE behind it, and a link-layer header that names IPv4.
func framed(inner []byte) []byte {
	head := make([]byte, 14)
	head[0], head[9], head[12] = 0x45, 47, 0x08
	return append(head, inner...)
}
