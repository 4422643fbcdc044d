//go:build lab

package kernel

import "testing"

func linkNamed(t *testing.T, name string) *link {
	t.Helper()
	r, err := openRequests()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	l, err := r.linkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
