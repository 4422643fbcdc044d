//go:build lab

package kerneltest

import (
	"testing"

	"cygnet/kernel/rtnl"
)

// LinkNamed returns the link with this name, or nil if there is none.
func LinkNamed(t testing.TB, name string) *rtnl.Link {
	t.Helper()
	r, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l, err := r.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
