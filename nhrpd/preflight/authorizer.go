package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"cygnet/nhrpd/config"
)

// authorizers checks that somebody listens at the sockets of the authorizers who may decide who
// registers. A hub without an answer refuses every new client, or with authorize_default = "allow"
// takes each that the peer rules allow.
func (h Host) authorizers(c *config.Config) []Finding {
	if h.Listener == nil {
		return nil
	}
	var found []Finding
	for _, i := range c.Interfaces {
		if i.Authorize.Socket == "" {
			continue
		}
		if wrong := h.authorizer(i.Authorize.Socket); wrong != "" {
			found = append(found, Finding{
				About:     AboutDaemon,
				Severity:  Warning,
				Interface: i.Name,
				Text:      fmt.Sprintf("authorize = %q: %s", i.Authorize.Socket, wrong),
			})
		}
	}
	return found
}

// authorizer returns what is wrong with the socket of an authorizer, and what to do. It returns ""
// if nothing is.
func (h Host) authorizer(socket string) string {
	uid, err := h.Listener(socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such socket, so new clients get the answer of authorize_default: " +
			"start the authorizer, enable its socket unit, or correct the path"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there, so new clients get the answer of authorize_default: " +
			"start the authorizer"
	case errors.Is(err, fs.ErrPermission):
		return "it was not found out who listens there: run this as root"
	case err != nil:
		return fmt.Sprintf("cygnetd cannot connect to it: %v: make it a stream socket", err)
	case uid != 0 && int64(uid) != int64(os.Geteuid()):
		return fmt.Sprintf("user %d listens there, and cygnetd takes answers only from root: "+
			"have systemd make the socket (contrib/authorize), or run the authorizer as root", uid)
	}
	return ""
}

// listener returns the user that made the socket at a path and listens there.
func listener(socket string) (uid uint32, err error) {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
