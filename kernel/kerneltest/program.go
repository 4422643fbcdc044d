//go:build lab

package kerneltest

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Size bounds an eBPF program.
type Size struct {
	Length   int // instructions, as the kernel runs them
	Verified int // instructions that the verifier followed
}

// Short fails the test if a program that the kernel has taken is longer than a bound. What a packet
// costs depends on the machine and its load; these figures do not.
func Short(t *testing.T, name string, program *ebpf.Program, most Size) {
	t.Helper()
	info, err := program.Info()
	if err != nil {
		t.Fatal(err)
	}
	size, err := info.TranslatedSize()
	if err != nil {
		t.Fatal(err)
	}
	length := size / asm.InstructionSize
	verified, known := info.VerifiedInstructions()
	t.Logf("%s has %d instructions, the verifier followed %d", name, length, verified)
	if length > most.Length || int(verified) > most.Verified || !known {
		t.Errorf("%s has %d instructions, the verifier followed %d (known: %v); want at most %+v",
			name, length, verified, known, most)
	}
}

// Bench measures what a program takes for a packet, by the kernel's own test run of a program
// (BPF_PROG_TEST_RUN), and reports it with the program's size. The packet begins with a link-layer
// header. Bench returns the verdict.
func Bench(b *testing.B, program *ebpf.Program, packet []byte) uint32 {
	b.Helper()
	verdict, took, err := program.Benchmark(packet, b.N, b.ResetTimer)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(took.Nanoseconds()), "ns/packet")
	b.ReportMetric(0, "ns/op")
	info, err := program.Info()
	if err != nil {
		b.Fatal(err)
	}
	if n, ok := info.VerifiedInstructions(); ok {
		b.ReportMetric(float64(n), "verified")
	}
	if size, err := info.TranslatedSize(); err == nil {
		b.ReportMetric(float64(size)/asm.InstructionSize, "instructions")
	}
	return verdict
}
