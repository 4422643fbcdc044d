package swanctl

import (
	"os"
	"path/filepath"
)

// Places is where a distribution has strongSwan's files.
type Places struct {
	StrongswanConf string
	Folder         string // with swanctl.conf, certificates and keys
	Socket         string // charon's VICI socket, unless strongswan.conf names another one
}

// debian and fedora have the places of Debian, which are strongSwan's own, and of Fedora and RHEL,
// which build it with --sysconfdir=/etc/strongswan and --with-piddir=/run/strongswan.
var (
	debian = Places{"/etc/strongswan.conf", "/etc/swanctl", "/var/run/charon.vici"}
	fedora = Places{
		"/etc/strongswan/strongswan.conf", "/etc/strongswan/swanctl",
		"/run/strongswan/charon.vici",
	}
)

// PlacesHere returns the places on this host: those of Fedora where it has strongswan.conf there
// only, and otherwise those of Debian.
func PlacesHere() Places { return placesBelow("/") }

func placesBelow(root string) Places {
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(root, name))
		return err == nil
	}
	if has(fedora.StrongswanConf) && !has(debian.StrongswanConf) {
		return fedora
	}
	return debian
}
