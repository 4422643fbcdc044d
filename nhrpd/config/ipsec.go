package config

import (
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/policy"
	"cygnet/vici/swanctl"
)

// protection decides between IPsec and clear GRE. It chooses clear GRE only if the file says so
// explicitly.
func (c *checker) protection(raw *rawInterface, i *Interface) {
	protection := c.word(raw.Protection, "ipsec", "ipsec", "none")
	table := raw.At.key("ipsec")
	switch {
	case protection == "none" && raw.IPsec != nil:
		c.problem(raw.Protection.at, "found \"none\" together with [%s]; allowed is one of the two",
			table)
	case protection == "none":
		i.Protected = false
		c.warn(raw.Protection.at, "%s is not protected: GRE and NHRP go over the underlay in clear, and anybody can register and forge", i.Name)
	case raw.IPsec == nil:
		c.problem(table, "missing, so nothing would protect the tunnel; add [%s] with identity and psk_file or certificates, or say protection = \"none\" for clear GRE in a lab%s", table, c.legacy())
	case raw.IPsec.SwanctlConnection.present(), raw.IPsec.SwanctlConf.present():
		i.IPsec = c.swanctlProfile(raw.IPsec, i.Underlay)
	default:
		i.IPsec = c.ipsec(raw.IPsec)
	}
}

func (c *checker) ipsec(raw *rawIPsec) *IPsec {
	p := defaultIPsec()
	p.Identity = c.identity(raw.Identity)
	if !raw.Identity.present() {
		c.problem(raw.At.key("identity"), "missing; give the IKE identity of this router: identity = \"spoke1.example.net\"")
	}
	p.RemoteIdentity = c.identity(raw.RemoteIdentity)
	if raw.RemoteIdentity.set {
		if id := swanctl.ParseIdentity(raw.RemoteIdentity.v); id.Fault() == "" &&
			id.PatternFault() != "" {
			c.problem(raw.RemoteIdentity.at, "found %s, which %s",
				quote(raw.RemoteIdentity.v), id.PatternFault())
		}
	}
	c.auth(raw, &p)
	p.Proposals = c.proposals(raw.Proposals, p.Proposals)
	p.ESPProposals = c.proposals(raw.ESPProposals, p.ESPProposals)
	p.DPDDelay = c.seconds(raw.DPDDelay, p.DPDDelay, time.Second, time.Hour)
	p.RekeyTime = c.seconds(raw.RekeyTime, p.RekeyTime, 10*time.Second, 7*24*time.Hour)
	p.ChildRekeyTime = c.seconds(raw.ChildRekeyTime, p.ChildRekeyTime, 10*time.Second,
		7*24*time.Hour)
	p.Connection = c.vici(raw.Connection, connectionKeys)
	p.Child = c.vici(raw.Child, childKeys)
	if text, ok := p.Child["priority"].(string); ok {
		if why := swanctl.UnusablePriority(text); why != "" {
			c.problem(raw.Child.at.key("priority"), "found %s: %s", quote(text), why)
		}
	}
	if raw.Identity.set && p.Local().Kind == swanctl.NameIdentity && p.Remote().Attributes() == 0 {
		c.warn(raw.Identity.at, "%s is a distinguished name; if the peers have such names as well, they "+
			"may do nothing, since strongSwan does not count the attributes of their names and a comma "+
			"inside one would pass for the next attribute: add remote_identity = %s",
			quote(p.Identity), quote(policy.Wildcards(p.Local().String())))
	}
	return &p
}

func (c *checker) identity(v value[string]) string {
	const most = 1024
	switch {
	case !v.set:
	case !printable(v.v) || len(v.v) > most:
		c.problem(v.at, "found %s, allowed is an IKE identity such as \"spoke1.example.net\", \"spoke1@example.net\", an address or a distinguished name", quote(v.v))
	default:
		if fault := swanctl.ParseIdentity(v.v).Fault(); fault != "" {
			c.problem(v.at, "found %s, which %s", quote(v.v), fault)
		}
	}
	return v.v
}

// auth decides how routers authenticate: by the key auth, or if that is missing, by the other keys
// that are set.
func (c *checker) auth(raw *rawIPsec, p *IPsec) {
	certs := raw.Certificates.set || raw.CA.set
	way := c.word(raw.Auth, "", string(AuthPSK), string(AuthCertificate))
	switch {
	case raw.PSKFile.set && certs:
		c.problem(raw.PSKFile.at, "found together with certificates; allowed is one way to authenticate")
	case way == string(AuthPSK) && certs:
		c.problem(raw.Auth.at, "found \"psk\" together with certificates; allowed is one way to authenticate")
	case way == string(AuthCertificate) && raw.PSKFile.set:
		c.problem(raw.Auth.at, "found \"certificate\" together with psk_file; allowed is one way to authenticate")
	case way == string(AuthPSK) && !raw.PSKFile.present():
		c.problem(raw.At.key("psk_file"), "missing; auth = \"psk\" needs it: psk_file = \"/etc/cygnet/gre1.psk\"")
	case raw.PSKFile.set:
		p.Auth = AuthPSK
	case certs, way == string(AuthCertificate):
		p.Auth = AuthCertificate
	case raw.PSKFile.present(), raw.Certificates.present(), raw.CA.present(), raw.Auth.present():
		return // reported already
	default:
		c.problem(raw.At, "found no way to authenticate; give psk_file, or certificates, or auth = \"certificate\" to have strongSwan choose the certificate by identity")
	}
	p.PSKFile = raw.PSKFile.v
	p.PSK = c.psk(raw.PSKFile)
	p.Certs = c.files(raw.Certificates)
	p.CACerts = c.files(raw.CA)
}

func (c *checker) psk(v value[string]) Secret {
	const enough = 16
	psk := c.secretFile(v)
	if len(psk) > 0 && len(psk) < enough {
		c.warn(v.at, "the key in %s has %d characters, so whoever records one handshake can find it by trying keys; make a longer one: openssl rand -base64 32", v.v, len(psk))
	}
	c.encoded(v, psk)
	return psk
}

// files checks the names of certificates. swanctl looks for a name without a folder in its own
// folder.
func (c *checker) files(v value[[]string]) []string {
	if v.set && len(v.v) == 0 {
		c.problem(v.at, "found an empty list; leave the key out instead")
	}
	for i, name := range v.v {
		if !printable(name) || strings.HasPrefix(name, "./") || strings.Contains(name, "..") {
			c.problem(v.at.element(i), "found %s, allowed is a file's name in swanctl's folder or an absolute path", quote(name))
		}
	}
	return v.v
}

// proposals checks the form of proposals, and that they protect what they should. Only strongSwan
// knows which algorithms exist.
func (c *checker) proposals(v value[[]string], def []string) []string {
	if !v.set {
		return def
	}
	if len(v.v) == 0 {
		c.problem(v.at, "found an empty list; leave the key out for the default")
	}
	for i, p := range v.v {
		switch {
		case p == "" || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "":
			c.problem(v.at.element(i), "found %s, allowed is a proposal in strongSwan's notation, such as %s", quote(p), quote(def[0]))
		case slices.Contains(v.v[:i], p):
			c.problem(v.at.element(i), "found %s again", quote(p))
		case swanctl.Readable(p):
			c.problem(v.at.element(i), "found %s, which leaves everything readable; allowed are proposals with encryption", quote(p))
		}
		if weak := swanctl.Weak(p); len(weak) > 0 {
			c.warn(v.at.element(i), "found %s, and %s can be broken; use others", quote(p),
				strings.Join(weak, ", "))
		}
	}
	return v.v
}
