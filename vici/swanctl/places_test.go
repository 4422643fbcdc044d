package swanctl

import (
	"os"
	"path/filepath"
	"testing"
)

// strongSwan is found where Fedora and RHEL keep it, unless its own file is there as well.
func TestPlaces(t *testing.T) {
	root := t.TempDir()
	add := func(name string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := placesBelow(root); got != debian {
		t.Errorf("without strongSwan: %+v", got)
	}
	add("/etc/strongswan/strongswan.conf")
	if got := placesBelow(root); got != fedora ||
		got.Socket != "/run/strongswan/charon.vici" {
		t.Errorf("on Fedora: %+v", got)
	}
	add("/etc/strongswan.conf")
	if got := placesBelow(root); got != debian {
		t.Errorf("with strongSwan's own file as well: %+v", got)
	}
}
