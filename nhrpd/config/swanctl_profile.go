package config

import (
	"cmp"
	"fmt"
	"os"
	"regexp"

	"cygnet/nhrpd/config/document"
	"cygnet/vici/swanctl"
)

// swanctlProfile reads the profile from a connection in the site's own swanctl.conf.
func (c *checker) swanctlProfile(raw *rawIPsec, i *Interface) *IPsec {
	p := &IPsec{
		SwanctlConnection: raw.SwanctlConnection.V,
		SwanctlConf:       c.absolute(raw.SwanctlConf, defaultSwanctlConf()),
	}
	if !raw.SwanctlConnection.Present() {
		c.Report(raw.SwanctlConf.At, "found without swanctl_connection, the name of the connection in it that protects the tunnel")
		return p
	}
	if raw.SwanctlConnection.Set && !printable(p.SwanctlConnection) {
		c.Report(raw.SwanctlConnection.At, "found %s, allowed is the name of a connection in %s",
			document.Quote(p.SwanctlConnection), p.SwanctlConf)
	}
	s := ownConnection{c, raw, p}
	s.refuseOwnProfile()
	if c.read == nil || !raw.SwanctlConnection.Set {
		return p
	}
	p.Swanctl = s.template(swanctl.Tunnel{
		Local: i.Underlay.Address,
		Apart: i.UnderlayTable != 0 || i.UnderlayVRF != "",
	})
	return p
}

// ownConnection is the use of a connection in the site's own swanctl.conf.
type ownConnection struct {
	*checker
	raw *rawIPsec
	p   *IPsec
}

// refuseOwnProfile refuses keys of a profile beside swanctl_connection, since the connection in
// swanctl.conf has these settings.
func (c *ownConnection) refuseOwnProfile() {
	for _, at := range document.Present(c.raw) {
		switch at.Last() {
		case "swanctl_connection", "swanctl_conf":
		case "sa":
			c.Report(at, "found together with swanctl_connection, whose child has traffic selectors of its own; allowed is it beside identity and psk_file or certificates here")
		default:
			c.Report(at, "found together with swanctl_connection; set it in that connection in swanctl.conf instead")
		}
	}
}

// template reads the connection. It reports a fault of the connection with its place in
// swanctl.conf.
func (c *ownConnection) template(t swanctl.Tunnel) *swanctl.Template {
	at := c.raw.SwanctlConnection.At
	f, err := swanctl.Load(c.p.SwanctlConf)
	if err != nil {
		c.Report(at, "%v%s", err, c.legacy())
		return nil
	}
	c.warnOf(f.Warnings())
	connection, err := f.Connection(c.p.SwanctlConnection)
	if err != nil {
		hint := ""
		if len(f.Names()) == 0 {
			hint = c.legacy()
		}
		c.Report(at, "%v%s", err, hint)
		return nil
	}
	made, problems := connection.Template(t)
	for _, p := range problems {
		c.Problems = append(c.Problems, &document.Problem{
			File: p.Pos.File, Line: p.Pos.Line, Key: p.Key, Text: p.Text,
		})
	}
	if made != nil {
		c.warnOf(made.Warnings)
		for _, o := range made.Obstacles {
			c.obstacles = append(c.obstacles, o.Error())
		}
		c.sharedKeys(f, made)
	}
	return made
}

// sharedKeys adds an obstacle for a connection that authenticates by a shared key, if swanctl
// cannot load that key or others can read it. This is no error, so the daemon still starts: another
// program may load the keys, and then none need be in the file.
func (c *ownConnection) sharedKeys(f *swanctl.File, made *swanctl.Template) {
	if !made.PSK {
		return
	}
	keys := f.Keys()
	if len(keys) == 0 {
		c.obstacles = append(c.obstacles, fmt.Sprintf("%s: connections.%s: auth = psk, and the file has no key: no peer can be secured; "+
			"add secrets { ike-dmvpn { secret = … } }, and run swanctl --load-creds",
			c.p.SwanctlConf, made.Name))
	}
	looked := map[string]bool{}
	for _, at := range keys {
		if looked[at.File] {
			continue
		}
		looked[at.File] = true
		if file, err := c.read(at.File); err == nil {
			if wrong := cmp.Or(
				file.ReadFault(at.File), file.WriteFault(at.File, os.Geteuid()),
			); wrong != "" {
				c.obstacles = append(c.obstacles, at.String()+": "+wrong)
			}
		}
	}
}

// warnOf adds warnings about other files than the configuration.
func (c *checker) warnOf(warnings []*swanctl.Problem) {
	for _, w := range warnings {
		c.Warnings = append(c.Warnings, w.Error())
	}
}

// legacyConnection matches a connection in ipsec.conf, the file of strongSwan's older
// configuration.
var legacyConnection = regexp.MustCompile(`(?m)^conn[ \t]+([^%\s]\S*)`)

// legacy returns a hint if ipsec.conf has connections; otherwise "".
func (c *checker) legacy() string {
	if c.read == nil {
		return ""
	}
	f, err := c.read(c.legacyConf)
	if err != nil {
		return ""
	}
	found := legacyConnection.FindSubmatch(f.Data)
	if found == nil {
		return ""
	}
	return "; " + c.legacyConf + " has connections (" + string(found[1]) + "), but ipsec.conf can neither be read nor be controlled over VICI: " +
		"write the one for GRE anew as a connection of swanctl.conf, or give identity and psk_file or certificates here"
}
