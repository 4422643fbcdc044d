package main

import (
	"fmt"
	"os"
	"syscall"
)

// coreVariable is an environment variable. Set to 1 it permits core files, for somebody who
// investigates a crash. A core file contains pre-shared keys.
const coreVariable = "CYGNETD_CORE"

// keepMemory keeps the process's memory, which holds pre-shared keys, out of core files and out of
// reach of other processes. Setting the limit for core files is not enough: the kernel applies it
// only to files, so a core that is piped to a program such as systemd-coredump is complete. A
// process that is not dumpable leaves no core of either kind, and only a process with
// CAP_SYS_PTRACE may read its memory.
func keepMemory() error {
	if os.Getenv(coreVariable) == "1" {
		return nil
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("set the limit of core files to 0: %w", err)
	}
	if _, _, errno := syscall.RawSyscall(
		syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0,
	); errno != 0 {
		return fmt.Errorf("forbid core files of this process: %w", errno)
	}
	return nil
}
