package clock

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic converts the times of eBPF programs to Go's. The programs use bpf_ktime_get_ns, which
// reads CLOCK_MONOTONIC. Unlike CLOCK_BOOTTIME, that clock stands still while the machine sleeps,
// as Go's monotonic times do. This is right, since a time of sleep is not a time without traffic.
type Monotonic struct {
	now       time.Time
	monotonic int64 // CLOCK_MONOTONIC at now, in nanoseconds
}

// ReadMonotonic reads both clocks.
func ReadMonotonic() (Monotonic, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return Monotonic{}, os.NewSyscallError("clock_gettime", err)
	}
	return Monotonic{now: time.Now(), monotonic: t.Nano()}, nil
}

// At converts a time of the programs. It returns the zero time for 0.
func (c Monotonic) At(ns uint64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return c.now.Add(time.Duration(int64(ns) - c.monotonic))
}
