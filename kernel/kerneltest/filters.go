//go:build lab

package kerneltest

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	vnl "github.com/vishvananda/netlink"
)

// FiltersAt returns the names of the filters at one end of the device's clsact qdisc.
func FiltersAt(t *testing.T, device vnl.Link, parent uint32) []string {
	t.Helper()
	filters, err := vnl.FilterList(device, parent)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, f := range filters {
		if b, ok := f.(*vnl.BpfFilter); ok {
			names = append(names, b.Name)
		} else {
			names = append(names, f.Type())
		}
	}
	return names
}

// Program loads a program for traffic control that passes every packet on to the next filter.
func Program(t testing.TB, name string) *ebpf.Program {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.SchedCLS, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program
}
