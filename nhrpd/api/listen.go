package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// ErrInUse means that another daemon answers on the socket.
var ErrInUse = errors.New("another daemon answers on the socket")

// ErrNoGroup means that the group that may use the API does not exist.
var ErrNoGroup = errors.New("there is no such group")

// Listen creates the socket of the API. Its owner and the group may use it; the group is a name or
// a number, or the process's own group if empty. Listen replaces a socket on which nobody answers,
// and creates the folder if it is missing. Closing the listener removes the socket.
func Listen(path, group string) (net.Listener, error) {
	gid, err := groupID(group)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, explain(path, err)
	}
	if err := vacant(path); err != nil {
		return nil, explain(path, err)
	}
	l, err := listen(path, gid)
	if err != nil {
		return nil, explain(path, err)
	}
	return l, nil
}

// explain adds to the error what to do if this process may not create the socket.
func explain(path string, err error) error {
	err = fmt.Errorf("listen on %s: %w", path, err)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: run the daemon as root or with the systemd unit of the package, or set api_socket in [daemon]", err)
	}
	return err
}

// listen creates the socket under a temporary name and renames it to path. So the socket at path
// has its final permissions from the start, and replaces a stale socket without a gap.
func listen(path string, gid int) (_ net.Listener, err error) {
	own := path + "." + strconv.Itoa(os.Getpid())
	if err := os.Remove(own); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: own, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	defer func() {
		if err != nil {
			l.Close()
			os.Remove(own)
		}
	}()
	if err := os.Chown(own, -1, gid); err != nil {
		return nil, err
	}
	if err := os.Chmod(own, 0o660); err != nil {
		return nil, err
	}
	info, err := os.Lstat(own)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(own, path); err != nil {
		return nil, err
	}
	return &listener{UnixListener: l, path: path, info: info}, nil
}

// vacant returns nil if the path is free: nothing is there, or only a socket on which nobody
// listens.
func vacant(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is not a socket is in its place; move it away or set api_socket in [daemon]")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		conn.Close()
	}
	return ErrInUse
}

func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if gid, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("find the group for the socket: %w (%w)", err, ErrNoGroup)
	}
	return strconv.Atoi(g.Gid)
}

// listener removes its socket when it closes, unless another daemon has put its own socket there.
type listener struct {
	*net.UnixListener
	path string
	info fs.FileInfo
	once sync.Once
}

// Addr returns the path of the socket.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close stops listening and removes the socket.
func (l *listener) Close() error {
	l.once.Do(func() {
		if info, err := os.Lstat(l.path); err == nil && os.SameFile(info, l.info) {
			os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}
