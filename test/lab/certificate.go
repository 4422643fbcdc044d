package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// CA is a certification authority, made with strongSwan's pki. Every router to which it has issued
// a certificate trusts the authority.
type CA struct {
	net *Net
	dir string
}

// CA makes a certification authority. It ends with the network.
func (n *Net) CA() *CA {
	n.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "ca")
	if err != nil {
		n.Fatalf("%v", err)
	}
	n.Cleanup(func() { os.RemoveAll(dir) })
	ca := &CA{net: n, dir: dir}
	ca.pki(`pki --gen --type ed25519 --outform pem >ca.key
		pki --self --ca --type ed25519 --in ca.key --dn "O=Lab, CN=Lab CA" --lifetime 30 --outform pem >ca.pem`)
	return ca
}

// pki runs a shell script in the authority's directory.
func (ca *CA) pki(script string) {
	ca.net.Helper()
	c := command("sh", "-ec", script)
	c.Dir = ca.dir
	if out, err := c.CombinedOutput(); err != nil {
		ca.net.Fatalf("make certificates: %v\n%s", err, out)
	}
}

// Issue gives a router a key, a certificate for an identity, and the authority's certificate, all
// in the directories where swanctl looks for them. The options are further options of pki --issue.
func (ca *CA) Issue(r *Router, identity string, options ...string) {
	ca.net.Helper()
	ca.pki(fmt.Sprintf(`pki --gen --type ed25519 --outform pem >%[1]s.key
		pki --pub --type priv --in %[1]s.key |
			pki --issue --cacert ca.pem --cakey ca.key --dn "O=Lab, CN=%[1]s" --san %[1]s --outform pem %[2]s >%[1]s.pem`,
		identity, strings.Join(options, " ")))
	ca.copy(r, "ca.pem", "x509ca/ca.pem")
	ca.copy(r, identity+".pem", "x509/router.pem")
	ca.copy(r, identity+".key", "private/router.pem")
}

// Expired returns options of Issue for a certificate that has expired.
func Expired() []string {
	return []string{"--dateform %Y-%m-%d", "--not-before 2020-01-01", "--not-after 2020-02-01"}
}

// Revoke makes a revocation list with the certificates for these identities, gives the list to a
// router, and makes the router's charon load it.
func (ca *CA) Revoke(r *Router, identities ...string) {
	ca.net.Helper()
	var certificates []string
	for _, id := range identities {
		certificates = append(certificates, "--cert "+id+".pem")
	}
	ca.pki("pki --signcrl --cacert ca.pem --cakey ca.key --reason key-compromise --lifetime 7 " +
		strings.Join(certificates, " ") + " >ca.crl")
	ca.copy(r, "ca.crl", "x509crl/ca.crl")
	r.Run("swanctl", "--load-creds")
}

// copy copies one of the authority's files to a path below the router's /etc/swanctl.
func (ca *CA) copy(r *Router, from, to string) {
	ca.net.Helper()
	data, err := os.ReadFile(filepath.Join(ca.dir, from))
	if err != nil {
		ca.net.Fatalf("%v", err)
	}
	r.WriteFile("/etc/swanctl/"+to, 0o600, string(data))
}

// Certify makes the mesh authenticate by certificates: each site gets a certificate for its
// identity, and lines for IPsec that use it.
func (m *Mesh) Certify() *CA {
	m.Helper()
	ca := m.CA()
	for _, s := range m.Sites() {
		identity := s.Name + ".example.net"
		ca.Issue(s.Router, identity)
		s.IPsec = []string{fmt.Sprintf("identity = %q", identity), `auth = "certificate"`}
	}
	return ca
}

// Rule returns the text of a peer rule for a site's configuration. The lines are the rule's other
// keys.
func Rule(identity, address string, lines ...string) string {
	text := fmt.Sprintf("[[interface.gre1.peer]]\nidentity = %q\naddresses = [%q]\n",
		identity, address)
	return text + strings.Join(append(lines, ""), "\n")
}
