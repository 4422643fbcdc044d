package main

import (
	"debug/elf"
	"fmt"
	"path/filepath"
)

// machines are the architectures that packages are made for, in Go's words, and how a program tells
// its own.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkPrograms returns an error if a program is not of the package's architecture: a package of
// another one would install and not run.
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
