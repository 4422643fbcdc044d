package main

import (
	"fmt"
	"os"
	"syscall"
)

// coreVariable set to 1 lets the daemon dump its memory, for who hunts a crash: it holds pre-shared keys then.
const coreVariable = "CYGNETD_CORE"

// keepMemory keeps the process's memory, which has pre-shared keys in it, from core files and from the eyes of other processes.
// The limit alone does not do it: the kernel heeds it for files only, and a core that is piped to a program, as to systemd-coredump,
// is whole. A process that is not dumpable leaves no core of either kind, and only who has CAP_SYS_PTRACE may look into it.
func keepMemory() error {
	if os.Getenv(coreVariable) == "1" {
		return nil
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("set the limit of core files to 0: %w", err)
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return fmt.Errorf("make the process one that leaves no core: %w", errno)
	}
	return nil
}
