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
