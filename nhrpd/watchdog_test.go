package nhrpd

import (
	"errors"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// notifySocket is the socket at which systemd takes reports.
type notifySocket struct {
	*testing.T
	fd int
}

// newNotifySocket makes such a socket, and sets the environment that systemd gives a unit with a
// watchdog.
func newNotifySocket(t *testing.T, watchdog time.Duration) notifySocket {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	path := filepath.Join(t.TempDir(), "notify")
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(syscall.Getpid()))
	return notifySocket{t, fd}
}

// alive takes all reports that have come, and returns how many of them were for the watchdog.
func (s notifySocket) alive() (n int) {
	s.Helper()
	for report := make([]byte, 256); ; {
		length, _, err := syscall.Recvfrom(s.fd, report, syscall.MSG_DONTWAIT)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return n
		case err != nil:
			s.Fatal(err)
		case string(report[:length]) == "WATCHDOG=1":
			n++
		}
	}
}

// While the loop hangs, nothing else in the daemon reports to systemd's watchdog. A loop that goes
// on reports again, also where it has no work.
func TestTheLoopAloneReportsToTheWatchdog(t *testing.T) {
	const watchdog = 30 * time.Second
	systemd := newNotifySocket(t, watchdog)
	inWorldOf(t, []byte(spokeToml), func(t *testing.T, _ *world, d *Daemon) {
		reports := func(during time.Duration) int {
			time.Sleep(during)
			synctest.Wait()
			return systemd.alive()
		}
		if n := reports(watchdog); n == 0 {
			t.Errorf("an idle loop made no report in %v", watchdog)
		}
		busy := make(chan struct{})
		go d.loop.call(t.Context(), func(time.Time) { <-busy })
		synctest.Wait()
		systemd.alive()
		// The socket holds ten reports, and a goroutine that sends one more would wait.
		if n := reports(2 * watchdog); n != 0 {
			t.Errorf("the watchdog got %d reports while the loop hung, want none", n)
		}
		close(busy)
		if n := reports(0); n == 0 {
			t.Error("the watchdog got no report when the loop went on")
		}
	})
}
