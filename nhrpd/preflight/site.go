package preflight

import (
	"crypto/x509"
	"strings"

	"cygnet/nhrpd/config"
	"cygnet/vici/swanctl"
)

// site checks the times of the certificates that are in a connection of the site's own. It leaves
// the keys and the choice of authorities to the site. It does not check certificates that the
// connection does not name, because charon chooses among those.
func (l *certificateCheck) site(c *config.IPsec) {
	f, err := swanctl.Load(c.SwanctlConf)
	if err != nil {
		return // loading the configuration reports this
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

// embedded checks the certificates under a key of swanctl.conf. A finding names such a certificate
// by its subject and by where in swanctl.conf it is named.
func (l *certificateCheck) embedded(k swanctl.Key, what string) {
	for _, content := range k.List {
		if c, err := x509.ParseCertificate(body([]byte(content)).Bytes); err == nil {
			l.valid(&certificate{c, c.Subject.String() + " (" + k.At.String() + ")"}, what)
		}
	}
}
