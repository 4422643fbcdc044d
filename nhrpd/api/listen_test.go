package api

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// The socket is open only to its owner and group. Listen creates its folder if it is missing.
func TestListenRights(t *testing.T) {
	path := t.TempDir() + "/a/b/cygnet.sock"
	l, err := Listen(path, "0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != os.ModeSocket|0o660 {
		t.Errorf("mode %v", got)
	}
	if got := info.Sys().(*syscall.Stat_t).Gid; got != 0 {
		t.Errorf("group %d", got)
	}
	if got := l.Addr().String(); got != path {
		t.Errorf("address %s", got)
	}
}

// Close removes the socket, but not a socket that another daemon has put in its place.
func TestListenClose(t *testing.T) {
	path := t.TempDir() + "/s"
	first, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the other's socket is gone: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	entries, err := os.ReadDir(path[:len(path)-2])
	if err != nil || len(entries) != 0 {
		t.Errorf("left: %v %v", entries, err)
	}
}

// Listen replaces a socket that a killed daemon left behind.
func TestListenReplacesStaleSocket(t *testing.T) {
	path := t.TempDir() + "/s"
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// Listen does not take the socket of a running daemon.
func TestListenRefusesSecondDaemon(t *testing.T) {
	path := t.TempDir() + "/s"
	first, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := Listen(path, ""); !errors.Is(err, ErrInUse) ||
		!strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

// Listen does not touch a file that is not a socket. The error about a group that does not exist
// names the key that sets it.
func TestListenRefuses(t *testing.T) {
	path := t.TempDir() + "/file"
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, ""); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("got %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Errorf("the file: %q %v", data, err)
	}
	if _, err := Listen(path+"2", "no-such-group"); err == nil || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("got %v", err)
	}
}

// The client's error tells whether no daemon is there, the daemon does not let the client in, or
// the daemon hangs.
func TestClientErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Dial(dir + "/none").Status(t.Context()); !errors.Is(err, ErrNotRunning) ||
		!strings.Contains(err.Error(), dir+"/none") {
		t.Errorf("no socket: %v", err)
	}

	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/stale", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if _, err := Dial(dir + "/stale").Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("stale socket: %v", err)
	}

	denied := Dial(dir + "/denied").unreachable(&net.OpError{
		Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES),
	})
	if !errors.Is(denied, ErrPermission) || !strings.Contains(denied.Error(), "api_group") {
		t.Errorf("no permission: %v", denied)
	}

	deaf, err := net.Listen("unix", dir+"/deaf")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan struct{})
	go func() {
		if conn, err := deaf.Accept(); err == nil {
			defer conn.Close()
			cancel()
			<-answered // closing the connection would cause another error
		}
	}()
	if _, err := Dial(dir + "/deaf").Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("deaf daemon: %v", err)
	}
	close(answered)
	late := Dial(dir + "/deaf").unreachable(context.DeadlineExceeded)
	if !strings.Contains(late.Error(), "does not answer") ||
		!errors.Is(late, context.DeadlineExceeded) {
		t.Errorf("late: %v", late)
	}
}

// An answer that is not the API's is an error; it neither crashes the client nor counts as an empty
// success.
func TestClientStrangeAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"no HTTP":         "hello\n",
		"no JSON":         "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"cut off":         "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
		"error, no JSON":  "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nhello",
		"another's types": "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"version\": 17}",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("unix", t.TempDir()+"/s")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				if conn, err := l.Accept(); err == nil {
					defer conn.Close()
					conn.Read(make([]byte, 4096))
					conn.Write([]byte(answer))
				}
			}()
			if s, err := Dial(l.Addr().String()).Status(t.Context()); err == nil {
				t.Errorf("got %+v", s)
			}
		})
	}
}

// A process that may not create the socket gets an error that says what to do.
func TestListenWithoutPermission(t *testing.T) {
	err := explain("/run/cygnet/cygnet.sock", &fs.PathError{
		Op: "mkdir", Path: "/run/cygnet", Err: syscall.EACCES,
	})
	want := "listen on /run/cygnet/cygnet.sock: mkdir /run/cygnet: permission denied: run the daemon as root or with the systemd unit of the package, or set api_socket in [daemon]"
	if !errors.Is(err, fs.ErrPermission) || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
