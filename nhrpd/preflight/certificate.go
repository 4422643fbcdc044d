package preflight

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"cygnet/nhrpd/config"
	"cygnet/vici/swanctl"
)

// soon is how long before its end a certificate is reported as about to expire.
const soon = 30 * 24 * time.Hour

// Certificates returns what is wrong with the certificates and keys that a configuration needs. A
// file may be missing, a certificate may be for another identity, expired or about to expire, and a
// certificate's key may be missing. Certificates reads files only: it does not know what swanctl
// has loaded into charon.
func (h Host) Certificates(c *config.Config) []Finding {
	var all []Finding
	for _, i := range c.Interfaces {
		if i.IPsec == nil {
			continue
		}
		check := &certificateCheck{host: h, iface: i.Name, identity: i.IPsec.Identity}
		switch {
		case i.IPsec.SwanctlConnection != "":
			check.site(i.IPsec)
		case i.IPsec.Auth == config.AuthCertificate:
			check.authorities(i.IPsec.CACerts, check.own(i.IPsec.Certs))
		}
		all = append(all, check.found...)
	}
	return all
}

// certificateCheck collects the findings about the certificates of one interface.
type certificateCheck struct {
	host     Host
	iface    string
	identity string
	found    []Finding
}

// add adds a finding.
func (l *certificateCheck) add(s Severity, format string, args ...any) {
	l.found = append(l.found, Finding{
		About:     AboutCertificates,
		Severity:  s,
		Interface: l.iface,
		Text:      fmt.Sprintf(format, args...),
	})
}

// own checks this router's certificates, and returns them. They are the ones that the configuration
// names or, if it names none, the ones for the router's identity.
func (l *certificateCheck) own(names []string) []*certificate {
	if len(names) == 0 {
		return l.fitting()
	}
	certs := l.named("x509", names)
	fits := false
	for _, c := range certs {
		l.valid(c, "certificate")
		l.key(c)
		fits = fits || c.is(l.identity)
	}
	if len(certs) > 0 && !fits {
		l.add(Error, "none of its certificates is for the identity %q, and peers would refuse it: use one with that subjectAltName, or set identity to %s",
			l.identity, certs[0].names())
	}
	return certs
}

// fitting checks and returns the certificates for the router's identity, which are the ones that
// charon chooses from.
func (l *certificateCheck) fitting() []*certificate {
	folder := filepath.Join(l.host.Swanctl, "x509")
	all, err := certificatesIn(folder)
	if unreadable(err) {
		l.add(Warning, "%s was not looked at: %v", folder, err)
		return nil
	}
	var certs []*certificate
	for _, c := range all {
		if c.is(l.identity) {
			certs = append(certs, c)
			l.valid(c, "certificate")
			l.key(c)
		}
	}
	if len(certs) == 0 {
		l.add(Warning, "no certificate for the identity %q is in %s: put it there and run swanctl --load-creds, unless it is on a token",
			l.identity, folder)
	}
	return certs
}

// named returns the certificates in the files that the configuration names. charon finds a file
// with a relative name in the same folder.
func (l *certificateCheck) named(folder string, names []string) []*certificate {
	var certs []*certificate
	for _, name := range names {
		if !filepath.IsAbs(name) {
			name = filepath.Join(l.host.Swanctl, folder, name)
		}
		switch c, err := readCertificate(name); {
		case errors.Is(err, fs.ErrNotExist):
			l.add(Error, "%s does not exist, and nobody can be secured without it: put it there, or correct the name",
				name)
		case unreadable(err):
			l.add(Warning, "%s was not looked at: %v", name, err)
		case err != nil:
			l.add(Error, "%v", err)
		default:
			certs = append(certs, c)
		}
	}
	return certs
}

// authorities checks the certificates of the CAs that peers' certificates must come from. It also
// checks that these CAs issued this router's own certificates: peers usually trust the same CAs.
func (l *certificateCheck) authorities(names []string, own []*certificate) {
	cas := l.named("x509ca", names)
	if len(names) == 0 {
		folder := filepath.Join(l.host.Swanctl, "x509ca")
		var err error
		if cas, err = certificatesIn(folder); unreadable(err) {
			l.add(Warning, "%s was not looked at: %v", folder, err)
			return
		}
		if len(cas) == 0 {
			l.add(Error, "no authority is in %s, so that no peer's certificate is trusted: put its certificate there and run swanctl --load-creds",
				folder)
			return
		}
	}
	for _, ca := range cas {
		l.valid(ca, "authority")
		if !ca.IsCA {
			l.add(Error, "%s is no authority's certificate (basicConstraints without CA), and vouches for nobody",
				ca.path)
		}
	}
	if len(cas) < len(names) {
		return
	}
	for _, c := range own {
		if !issued(c, cas) {
			l.add(Warning, "%s is from %q, which is none of the authorities here: if it is not from an intermediate one, peers do not trust it",
				c.path, c.Issuer)
		}
	}
}

// issued reports whether one of the CAs issued the certificate.
func issued(c *certificate, cas []*certificate) bool {
	for _, ca := range cas {
		if c.CheckSignatureFrom(ca.Certificate) == nil {
			return true
		}
	}
	return false
}

// valid checks the times of a certificate. what is the word for the certificate in a finding.
func (l *certificateCheck) valid(c *certificate, what string) {
	now := l.host.Now
	switch {
	case now.After(c.NotAfter):
		l.add(Error, "the %s %s expired on %s: renew it, then run swanctl --load-creds",
			what, c.path, day(c.NotAfter))
	case now.Before(c.NotBefore):
		l.add(Error, "the %s %s is not valid before %s: is this router's clock right?",
			what, c.path, day(c.NotBefore))
	case now.Add(soon).After(c.NotAfter):
		l.add(Advice,
			"the %s %s expires on %s, in %d days: renew it, then run swanctl --load-creds",
			what, c.path, day(c.NotAfter), int(c.NotAfter.Sub(now).Hours()/24))
	}
}

// day returns a time as findings show it.
func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// key checks that swanctl loads the private key of a certificate. It also reports private keys that
// everybody can read.
func (l *certificateCheck) key(c *certificate) {
	keys := keysIn(l.host.Swanctl)
	for _, loose := range keys.loose {
		l.add(Error, "everybody on this host may read the private key %s: chmod 600 it, and have a new certificate made for a new key",
			loose)
	}
	switch {
	case keys.has(c.Certificate) || keys.encrypted > 0:
	case keys.err != nil:
		l.add(Warning, "private keys were not looked at: %v", keys.err)
	default:
		l.add(Warning, "no private key for %s is in %s: put it there and run swanctl --load-creds, unless it is on a token",
			c.path, filepath.Join(l.host.Swanctl, "private"))
	}
}

// unreadable reports whether a file was not read because only root may read it.
func unreadable(err error) bool { return errors.Is(err, fs.ErrPermission) }

// is reports whether a certificate is for an IKE identity: its subject, or one of its
// subjectAltNames. It returns true for an identity of a kind that only charon can compare.
func (c *certificate) is(identity string) bool {
	id := swanctl.ParseIdentity(identity)
	if id.Kind == swanctl.NameIdentity {
		return strings.EqualFold(id.String(), swanctl.NameOf(c.RawSubject))
	}
	for _, name := range c.identities() {
		if strings.EqualFold(name, id.String()) {
			return true
		}
	}
	// Only charon can compare identities of these kinds.
	return id.Kind == swanctl.KeyIdentity || id.Kind == swanctl.OtherIdentity
}

// identities returns the subjectAltNames that IKE can use as identities.
func (c *certificate) identities() []string {
	names := append(append([]string(nil), c.DNSNames...), c.EmailAddresses...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// names returns, quoted, an identity that the certificate is for.
func (c *certificate) names() string {
	if names := c.identities(); len(names) > 0 {
		return fmt.Sprintf("%q", names[0])
	}
	return fmt.Sprintf("%q", swanctl.NameOf(c.RawSubject))
}

// certificate is an X.509 certificate, and the file that it is from.
type certificate struct {
	*x509.Certificate
	path string
}
