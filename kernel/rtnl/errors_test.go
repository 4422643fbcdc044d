package rtnl

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What only the user can mend is told apart from what may pass, and the kernel's own reason stays
// in the error.
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
		if Permanent(err) != (c.sentinel != nil) || c.sentinel != nil && !errors.Is(err, c.sentinel) || !errors.Is(err, c.errno) {
			t.Errorf("%v became %v", c.errno, err)
		}
	}
	if Explain(nil, "open it") != nil {
		t.Error("no error became one")
	}
}
