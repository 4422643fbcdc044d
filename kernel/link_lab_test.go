//go:build lab

package kernel

import (
	"testing"

	"cygnet/kernel/rtnl"
)

// linkNamed returns the link with this name, or nil if there is none.
func linkNamed(t *testing.T, name string) *rtnl.Link {
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
