package rtnl

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Explain gives an error that only the user can remedy its sentinel, and gives no sentinel to an
// error that may pass by itself. The kernel's own error stays in the chain.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		errno    unix.Errno
		sentinel error // nil: worth trying again
	}{
		{unix.EPERM, ErrNoPermission},
		{unix.EACCES, ErrNoPermission},
		{unix.EPROTONOSUPPORT, ErrNoXFRM},
		{unix.ENOBUFS, nil},
		{unix.EBUSY, nil},
	} {
		err := Explain(os.NewSyscallError("socket", c.errno), "open %s", "it")
		if Permanent(err) != (c.sentinel != nil) ||
			c.sentinel != nil && !errors.Is(err, c.sentinel) ||
			!errors.Is(err, c.errno) {
			t.Errorf("%v became %v", c.errno, err)
		}
	}
	if Explain(nil, "open it") != nil {
		t.Error("no error became one")
	}
}

// A kernel without GRE over IPv6 refuses such a device with EOPNOTSUPP, and the error says what to
// do. Peers at IPv6 addresses are tried again, since the module may come.
func TestExplainPeerGRE(t *testing.T) {
	lacking := ExplainPeerGRE(unix.EOPNOTSUPP, "make %s", "it")
	if !errors.Is(lacking, ErrNoGREIPv6) || !errors.Is(lacking, unix.EOPNOTSUPP) ||
		Permanent(lacking) {
		t.Errorf("EOPNOTSUPP became %v", lacking)
	}
	if err := ExplainPeerGRE(unix.EPERM, "make it"); !errors.Is(err, ErrNoPermission) {
		t.Errorf("EPERM became %v", err)
	}
	if err := ExplainPeerGRE(nil, "make it"); err != nil {
		t.Errorf("no error became %v", err)
	}
}
