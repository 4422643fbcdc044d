package preflight

import (
	"crypto/x509"
	"strings"

	"cygnet/nhrpd/config"
	"cygnet/vici/swanctl"
)

// site looks at the certificates that a connection of the site's own names. Keys and authorities are the site's business, and what the
// connection does not name, charon chooses.
func (l *lookout) site(c *config.IPsec) {
	f, err := swanctl.Load(c.SwanctlConf)
	if err != nil {
		return // the configuration is not valid then, and says so
	}
	connection, err := f.Connection(c.SwanctlConnection)
	if err != nil {
		return
	}
	for _, s := range connection.Sections {
		name := strings.ToLower(s.Name)
		own, remote := strings.HasPrefix(name, "local"), strings.HasPrefix(name, "remote")
		for _, k := range s.Keys {
			switch {
			case own && k.Name == "certs":
				l.embedded(k, "certificate")
			case remote && k.Name == "cacerts":
				l.embedded(k, "authority")
			}
		}
	}
}

// embedded looks at certificates that swanctl.conf names, which are known by where it does.
func (l *lookout) embedded(k swanctl.Key, what string) {
	for _, content := range k.List {
		if c, err := x509.ParseCertificate(body([]byte(content)).Bytes); err == nil {
			l.valid(&certificate{c, c.Subject.String() + " (" + k.At.String() + ")"}, what)
		}
	}
}
