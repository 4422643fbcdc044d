package preflight

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority issues certificates into a host's folders.
type authority struct {
	t    *testing.T
	dir  string // swanctl's folder
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// oneDay is the length of a day.
const oneDay = 24 * time.Hour

// newAuthority returns an authority that is valid for that long from now. It puts the authority's
// certificate where the host looks for it.
func newAuthority(t *testing.T, h Host, valid time.Duration) *authority {
	t.Helper()
	a := &authority{t: t, dir: h.Swanctl, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "Lab CA"},
		NotBefore:             now.Add(-oneDay),
		NotAfter:              now.Add(valid),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(a.dir, "x509ca/ca.pem"), "CERTIFICATE", der)
	return a
}

// newKey returns a new private key.
func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// writePEM writes a file with one PEM block of that kind.
func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

// issue makes the certificate x509/NAME.pem, and puts its key into the folder private. The
// certificate is valid between the two times, which count from now. change may change it before it
// is signed.
func (a *authority) issue(
	name string, from, until time.Duration, change ...func(*x509.Certificate),
) {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{Country: []string{"CH"}, CommonName: name},
		DNSNames:     []string{name + ".example.net"},
		NotBefore:    now.Add(from),
		NotAfter:     now.Add(until),
	}
	for _, f := range change {
		f(template)
	}
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	writePEM(a.t, filepath.Join(a.dir, "x509", name+".pem"), "CERTIFICATE", der)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	writePEM(a.t, filepath.Join(a.dir, "private", name+".pem"), "PRIVATE KEY", private)
}

// certificates returns the configuration of a spoke with certificates. lines are more lines of its
// table ipsec.
func certificates(identity, lines string) string {
	return "[interface.gre1]\naddress = \"10.255.0.11/24\"\nunderlay = \"eth0\"\nnhs = [{ nbma = \"hub\" }]\n[interface.gre1.ipsec]\nauth = \"certificate\"\nidentity = \"" +
		identity + "\"\n" + lines
}

// named are the lines of a configuration that names its certificates.
const named = "certificates = [\"spoke1.pem\"]\nca = [\"ca.pem\"]\n"

// Certificate, key and authority are found by their names in the configuration, and without names
// by the identity, whichever part of the certificate the identity is.
func TestCertificatesInOrder(t *testing.T) {
	h, dir := host(t)
	a := newAuthority(t, h, 300*oneDay)
	a.issue("spoke1", -oneDay, 300*oneDay, func(c *x509.Certificate) {
		c.EmailAddresses = []string{"spoke1@example.net"}
	})
	a.issue("other", -oneDay, -time.Hour) // expired, and not this router's
	for _, identity := range []string{
		"spoke1.example.net",
		"SPOKE1.example.net",
		"@spoke1.example.net",
		"fqdn:spoke1.example.net",
		"{2}:spoke1.example.net",
		"spoke1@example.net",
		"@@spoke1@example.net",
		"email:spoke1@example.net",
		"C=CH, CN=spoke1",
		"/C=CH/CN=spoke1",
	} {
		for _, lines := range []string{named, ""} {
			want(t, h.Check(parse(t, certificates(identity, lines))), dir)
		}
	}
}

// A finding tells what is missing, wrong or about to expire, and what to do.
func TestCertificates(t *testing.T) {
	const fine = 300 * oneDay
	for _, test := range []struct {
		name  string
		make  func(t *testing.T, h Host)
		lines string
		want  []string
	}{
		{"nothing there", func(t *testing.T, h Host) {}, named, []string{
			"certificates: gre1: DIR/swanctl/x509/spoke1.pem does not exist, and nobody can be secured without it",
			"certificates: gre1: DIR/swanctl/x509ca/ca.pem does not exist, and nobody can be secured without it",
		}},
		{"nothing there, by identity", func(t *testing.T, h Host) {}, "", []string{
			`certificates: gre1: no certificate for the identity "spoke1.example.net" is in DIR/swanctl/x509`,
			"certificates: gre1: no authority is in DIR/swanctl/x509ca",
		}},
		{"somebody else's", func(t *testing.T, h Host) {
			newAuthority(t, h, fine).issue("spoke1", -oneDay, fine, func(c *x509.Certificate) {
				c.DNSNames = []string{"spoke2.example.net"}
			})
		}, named, []string{
			`certificates: gre1: none of its certificates is for the identity "spoke1.example.net", and peers would refuse it: use one with that subjectAltName, or set identity to "spoke2.example.net"`,
		}},
		{"expired", func(t *testing.T, h Host) {
			newAuthority(t, h, fine).issue("spoke1", -2*oneDay, -time.Minute)
		}, named, []string{
			"certificates: gre1: the certificate DIR/swanctl/x509/spoke1.pem expired on 2026-03-01 11:59 UTC: renew it",
		}},
		{"expires within 30 days", func(t *testing.T, h Host) {
			newAuthority(t, h, 29*oneDay).issue("spoke1", -oneDay, 29*oneDay+time.Hour)
		}, "", []string{
			"certificates: gre1: the certificate DIR/swanctl/x509/spoke1.pem expires on 2026-03-30 13:00 UTC, in 29 days: renew it",
			"certificates: gre1: the authority DIR/swanctl/x509ca/ca.pem expires on 2026-03-30 12:00 UTC, in 29 days: renew it",
		}},
		{"not yet valid", func(t *testing.T, h Host) {
			newAuthority(t, h, fine).issue("spoke1", time.Hour, fine)
		}, named, []string{
			"certificates: gre1: the certificate DIR/swanctl/x509/spoke1.pem is not valid before 2026-03-01 13:00 UTC: is this router's clock right?",
		}},
		{"no key", func(t *testing.T, h Host) {
			newAuthority(t, h, fine).issue("spoke1", -oneDay, fine)
			os.RemoveAll(filepath.Join(h.Swanctl, "private"))
		}, named, []string{
			"certificates: gre1: no private key for DIR/swanctl/x509/spoke1.pem is in DIR/swanctl/private",
		}},
		{"a key that may be its own", func(t *testing.T, h Host) {
			newAuthority(t, h, fine).issue("spoke1", -oneDay, fine)
			writePEM(t, filepath.Join(h.Swanctl, "private/spoke1.pem"), "ENCRYPTED PRIVATE KEY",
				[]byte{1})
		}, named, nil},
		{"a key for everybody", func(t *testing.T, h Host) {
			newAuthority(t, h, fine).issue("spoke1", -oneDay, fine)
			if err := os.Chmod(
				filepath.Join(h.Swanctl, "private/spoke1.pem"), 0o644,
			); err != nil {
				t.Fatal(err)
			}
		}, named, []string{
			"certificates: gre1: everybody on this host may read the private key DIR/swanctl/private/spoke1.pem: chmod 600 it",
		}},
		{"another authority", func(t *testing.T, h Host) {
			newAuthority(t, h, fine).issue("spoke1", -oneDay, fine)
			newAuthority(t, h, fine)
		}, named, []string{
			`certificates: gre1: DIR/swanctl/x509/spoke1.pem is from "CN=Lab CA", which is none of the authorities here`,
		}},
		{"an authority that is none", func(t *testing.T, h Host) {
			a := newAuthority(t, h, fine)
			a.issue("spoke1", -oneDay, fine)
			if err := os.Rename(
				filepath.Join(h.Swanctl, "x509/spoke1.pem"),
				filepath.Join(h.Swanctl, "x509ca/ca.pem"),
			); err != nil {
				t.Fatal(err)
			}
			a.issue("spoke1", -oneDay, fine)
		}, named, []string{
			"certificates: gre1: DIR/swanctl/x509ca/ca.pem is no authority's certificate",
			"certificates: gre1: DIR/swanctl/x509/spoke1.pem is from",
		}},
		{"no certificate at all", func(t *testing.T, h Host) {
			newAuthority(t, h, fine).issue("spoke1", -oneDay, fine)
			write(t, filepath.Join(h.Swanctl, "x509/spoke1.pem"), "not PEM")
		}, named, []string{
			"certificates: gre1: DIR/swanctl/x509/spoke1.pem holds no X.509 certificate",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, dir := host(t)
			test.make(t, h)
			want(t,
				h.Check(parse(t, certificates("spoke1.example.net", test.lines))),
				dir,
				test.want...)
		})
	}
}

// If an interface uses a connection of the site's own, the certificates that the connection names
// are checked.
func TestCertificatesOfASite(t *testing.T) {
	h, dir := host(t)
	newAuthority(t, h, 10*oneDay).issue("spoke1", -oneDay, 5*oneDay)
	conf := filepath.Join(h.Swanctl, "swanctl.conf")
	write(t, conf, `connections {
	dmvpn {
		local {
			certs = spoke1.pem
		}
		remote {
			cacerts = ca.pem
		}
		children {
			gre {
				mode = transport
				local_ts = dynamic[gre]
				remote_ts = dynamic[gre]
			}
		}
	}
}
`)
	text := "[interface.gre1]\naddress = \"10.255.0.11/24\"\nunderlay = \"eth0\"\nnhs = [{ nbma = \"hub\" }]\n[interface.gre1.ipsec]\n" +
		"swanctl_connection = \"dmvpn\"\nswanctl_conf = \"" + conf + "\"\n"
	want(t, h.Check(parse(t, text)), dir,
		"certificates: gre1: the certificate CN=spoke1,C=CH (DIR/swanctl/swanctl.conf:4) expires on 2026-03-06 12:00 UTC, in 5 days",
		"certificates: gre1: the authority CN=Lab CA (DIR/swanctl/swanctl.conf:7) expires on 2026-03-11 12:00 UTC, in 10 days")
}
