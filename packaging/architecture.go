package main

import (
	"debug/elf"
	"fmt"
	"path/filepath"
)

// machines maps the architectures of the packages, in Go's words, to the values in an ELF header.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkPrograms returns an error if a program is not built for the package's architecture: such a
// package would install, but its programs would not run.
func (b *build) checkPrograms() error {
	want, ok := machines[b.arch]
	if !ok {
		return fmt.Errorf("-arch %s: packages are made for amd64 and arm64", b.arch)
	}
	for _, name := range []string{"cygnetd", "cygnet"} {
		program, err := elf.Open(filepath.Join(b.bin, name))
		if err != nil {
			return fmt.Errorf("look at the architecture of %s: %w", name, err)
		}
		have := program.Machine
		program.Close()
		if have != want {
			return fmt.Errorf("%s is a program for %s, the package would be for %s (%s): build it with GOARCH=%s",
				filepath.Join(b.bin, name), have, b.arch, want, b.arch)
		}
	}
	return nil
}
