//go:build lab

package scenario

import (
	"testing"

	"cygnet/test/lab"
)

func TestZTrace(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	t.Fatal("trace")
}
