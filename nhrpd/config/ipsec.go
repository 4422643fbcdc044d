package config

import (
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/config/document"
	"cygnet/nhrpd/config/secret"
	"cygnet/nhrpd/policy"
	"cygnet/vici/swanctl"
)

// protection decides between IPsec and clear GRE. It chooses clear GRE only if the file says so
// explicitly.
func (c *checker) protection(raw *rawInterface, i *Interface) {
	protection := c.word(raw.Protection, "ipsec", "ipsec", "none")
	table := raw.At.Key("ipsec")
	switch {
	case protection == "none" && raw.IPsec != nil:
		c.Report(raw.Protection.At, "found \"none\" together with [%s]; allowed is one of the two",
			table)
	case protection == "none":
		i.Protected = false
		c.Warn(raw.Protection.At, "%s is not protected: GRE and NHRP go over the underlay in clear, and anybody can register and forge", i.Name)
	case raw.IPsec == nil:
		c.Report(table, "missing, so nothing would protect the tunnel; add [%s] with identity and psk_file or certificates, or say protection = \"none\" for clear GRE in a lab%s", table, c.legacy())
	case raw.IPsec.SwanctlConnection.Present(), raw.IPsec.SwanctlConf.Present():
		i.IPsec = c.swanctlProfile(raw.IPsec, i)
	default:
		i.IPsec = c.ipsec(raw.IPsec)
		c.perKey(raw, i)
	}
}

func (c *checker) ipsec(raw *rawIPsec) *IPsec {
	p := defaultIPsec()
	p.Identity = identity(c.Document, raw.Identity)
	if !raw.Identity.Present() {
		c.Report(raw.At.Key("identity"), "missing; give the IKE identity of this router: identity = \"spoke1.example.net\"")
	}
	p.RemoteIdentity = identity(c.Document, raw.RemoteIdentity)
	if raw.RemoteIdentity.Set {
		if id := swanctl.ParseIdentity(raw.RemoteIdentity.V); id.Fault() == "" &&
			id.PatternFault() != "" {
			c.Report(raw.RemoteIdentity.At, "found %s, which %s",
				document.Quote(raw.RemoteIdentity.V), id.PatternFault())
		}
	}
	c.auth(raw, &p)
	p.Proposals = c.proposals(raw.Proposals, p.Proposals)
	p.ESPProposals = c.proposals(raw.ESPProposals, p.ESPProposals)
	p.DPDDelay = c.seconds(raw.DPDDelay, p.DPDDelay, time.Second, time.Hour)
	p.RekeyTime = c.seconds(raw.RekeyTime, p.RekeyTime, 10*time.Second, 7*24*time.Hour)
	p.ChildRekeyTime = c.seconds(raw.ChildRekeyTime, p.ChildRekeyTime, 10*time.Second,
		7*24*time.Hour)
	p.Connection = viciMaps{c.Document}.convert(raw.Connection, connectionKeys)
	p.Child = viciMaps{c.Document}.convert(raw.Child, childKeys)
	if text, ok := p.Child["priority"].(string); ok {
		if why := swanctl.UnusablePriority(text); why != "" {
			c.Report(raw.Child.At.Key("priority"), "found %s: %s", document.Quote(text), why)
		}
	}
	if raw.Identity.Set && p.Local().Kind == swanctl.NameIdentity && p.Remote().Attributes() == 0 {
		c.Warn(raw.Identity.At, "%s is a distinguished name; if the peers have such names as well, they "+
			"may do nothing, since strongSwan does not count the attributes of their names and a comma "+
			"inside one would pass for the next attribute: add remote_identity = %s",
			document.Quote(p.Identity), document.Quote(policy.Wildcards(p.Local().String())))
	}
	return &p
}

// identity checks an IKE identity.
func identity(d *document.Document, v document.Value[string]) string {
	const most = 1024
	switch {
	case !v.Set:
	case !printable(v.V) || len(v.V) > most:
		d.Report(v.At, "found %s, allowed is an IKE identity such as \"spoke1.example.net\", \"spoke1@example.net\", an address or a distinguished name", document.Quote(v.V))
	default:
		if fault := swanctl.ParseIdentity(v.V).Fault(); fault != "" {
			d.Report(v.At, "found %s, which %s", document.Quote(v.V), fault)
		}
	}
	return v.V
}

// auth decides how routers authenticate: by the key auth, or if that is missing, by the other keys
// that are set.
func (c *checker) auth(raw *rawIPsec, p *IPsec) {
	certs := raw.Certificates.Set || raw.CA.Set
	way := c.word(raw.Auth, "", string(AuthPSK), string(AuthCertificate))
	switch {
	case raw.PSKFile.Set && certs:
		c.Report(raw.PSKFile.At, "found together with certificates; allowed is one way to authenticate")
	case way == string(AuthPSK) && certs:
		c.Report(raw.Auth.At, "found \"psk\" together with certificates; allowed is one way to authenticate")
	case way == string(AuthCertificate) && raw.PSKFile.Set:
		c.Report(raw.Auth.At, "found \"certificate\" together with psk_file; allowed is one way to authenticate")
	case way == string(AuthPSK) && !raw.PSKFile.Present():
		c.Report(raw.At.Key("psk_file"), "missing; auth = \"psk\" needs it: psk_file = \"/etc/cygnet/gre1.psk\"")
	case raw.PSKFile.Set:
		p.Auth = AuthPSK
	case certs, way == string(AuthCertificate):
		p.Auth = AuthCertificate
	case raw.PSKFile.Present(), raw.Certificates.Present(), raw.CA.Present(), raw.Auth.Present():
		return // reported already
	default:
		c.Report(raw.At, "found no way to authenticate; give psk_file, or certificates, or auth = \"certificate\" to have strongSwan choose the certificate by identity")
	}
	p.PSKFile = raw.PSKFile.V
	p.PSK = c.psk(raw.PSKFile)
	p.Certs = c.files(raw.Certificates)
	p.CACerts = c.files(raw.CA)
}

func (c *checker) psk(v document.Value[string]) secret.Secret {
	const enough = 16
	psk := c.secretFile(v)
	if len(psk) > 0 && len(psk) < enough {
		c.Warn(v.At, "the key in %s has %d characters, so whoever records one handshake can find it by trying keys; make a longer one: openssl rand -base64 32", v.V, len(psk))
	}
	if warning := secret.EncodingWarning(v.V, psk); warning != "" {
		c.Warn(v.At, "%s", warning)
	}
	return psk
}

// files checks the names of certificates. swanctl looks for a name without a folder in its own
// folder.
func (c *checker) files(v document.Value[[]string]) []string {
	if v.Set && len(v.V) == 0 {
		c.Report(v.At, "found an empty list; leave the key out instead")
	}
	for i, name := range v.V {
		if !printable(name) || strings.HasPrefix(name, "./") || strings.Contains(name, "..") {
			c.Report(v.At.Element(i), "found %s, allowed is a file's name in swanctl's folder or an absolute path", document.Quote(name))
		}
	}
	return v.V
}

// proposals checks the form of proposals, and that they protect what they should. Only strongSwan
// knows which algorithms exist.
func (c *checker) proposals(v document.Value[[]string], def []string) []string {
	if !v.Set {
		return def
	}
	if len(v.V) == 0 {
		c.Report(v.At, "found an empty list; leave the key out for the default")
	}
	for i, p := range v.V {
		switch {
		case p == "" || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "":
			c.Report(v.At.Element(i), "found %s, allowed is a proposal in strongSwan's notation, such as %s", document.Quote(p), document.Quote(def[0]))
		case slices.Contains(v.V[:i], p):
			c.Report(v.At.Element(i), "found %s again", document.Quote(p))
		case swanctl.Readable(p):
			c.Report(v.At.Element(i), "found %s, which leaves everything readable; allowed are proposals with encryption", document.Quote(p))
		}
		if weak := swanctl.Weak(p); len(weak) > 0 {
			c.Warn(v.At.Element(i), "found %s, and %s can be broken; use others", document.Quote(p),
				strings.Join(weak, ", "))
		}
	}
	return v.V
}
