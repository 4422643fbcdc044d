package config

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"

	"cygnet/vici/swanctl"
)

// existing takes the profile from a connection that the site has in its swanctl.conf.
func (c *checker) existing(raw *rawIPsec, from Underlay) *IPsec {
	p := &IPsec{SwanctlConnection: raw.SwanctlConnection.v, SwanctlConf: c.absolute(raw.SwanctlConf, defaultSwanctlConf)}
	if !raw.SwanctlConnection.present() {
		c.problem(raw.SwanctlConf.at, "found without swanctl_connection, the name of the connection in it that protects the tunnel")
		return p
	}
	if raw.SwanctlConnection.set && !printable(p.SwanctlConnection) {
		c.problem(raw.SwanctlConnection.at, "found %s, allowed is the name of a connection in %s", quote(p.SwanctlConnection), p.SwanctlConf)
	}
	c.noneBeside(raw)
	if c.read == nil || !raw.SwanctlConnection.set {
		return p
	}
	p.Swanctl = c.template(raw, p, swanctl.Tunnel{Local: from.Address})
	return p
}

// noneBeside refuses the keys of a profile of our own beside an existing connection.
func (c *checker) noneBeside(raw *rawIPsec) {
	fields := reflect.ValueOf(raw).Elem()
	keys := keysOf(fields.Type())
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		v := fields.Field(keys[key]).Addr().Interface().(interface{ place() path })
		if at := v.place(); at != nil && key != "swanctl_connection" && key != "swanctl_conf" {
			c.problem(at, "found together with swanctl_connection; the connection in swanctl.conf says it")
		}
	}
}

// template reads the connection. What is wrong with it is told by its place there.
func (c *checker) template(raw *rawIPsec, p *IPsec, t swanctl.Tunnel) *swanctl.Template {
	at := raw.SwanctlConnection.at
	f, err := swanctl.Load(p.SwanctlConf)
	if err != nil {
		c.problem(at, "%v%s", err, c.legacy())
		return nil
	}
	c.elsewhere(f.Warnings())
	connection, err := f.Connection(p.SwanctlConnection)
	if err != nil {
		hint := ""
		if len(f.Names()) == 0 {
			hint = c.legacy()
		}
		c.problem(at, "%v%s", err, hint)
		return nil
	}
	made, problems := connection.Template(t)
	for _, p := range problems {
		c.problems = append(c.problems, &Problem{File: p.Pos.File, Line: p.Pos.Line, Key: p.Key, Text: p.Text})
	}
	if made != nil {
		c.elsewhere(made.Warnings)
		for _, d := range made.Doubts {
			c.doubts = append(c.doubts, d.Error())
		}
		c.sharedKeys(f, made, p)
	}
	return made
}

// sharedKeys doubts a connection whose key in common swanctl cannot load, or others can read. Where another program loads
// the keys, none need be in the file, so that the daemon starts all the same.
func (c *checker) sharedKeys(f *swanctl.File, made *swanctl.Template, p *IPsec) {
	if !made.PSK {
		return
	}
	keys := f.Keys()
	if len(keys) == 0 {
		c.doubts = append(c.doubts, fmt.Sprintf("%s: connections.%s: auth = psk, and the file has no key: no peer can be secured; "+
			"add secrets { ike-dmvpn { secret = … } }, and run swanctl --load-creds", p.SwanctlConf, made.Name))
	}
	looked := map[string]bool{}
	for _, at := range keys {
		if looked[at.File] {
			continue
		}
		looked[at.File] = true
		if file, err := c.read(at.File); err == nil {
			if wrong := cmp.Or(file.readable(at.File), file.writable(at.File, os.Geteuid())); wrong != "" {
				c.doubts = append(c.doubts, at.String()+": "+wrong)
			}
		}
	}
}

// elsewhere warns of what stands in other files.
func (c *checker) elsewhere(warnings []*swanctl.Problem) {
	for _, w := range warnings {
		c.warnings = append(c.warnings, w.Error())
	}
}

// legacyConnection finds connections of ipsec.conf, the file of strongSwan's older way.
var legacyConnection = regexp.MustCompile(`(?m)^conn[ \t]+([^%\s]\S*)`)

// legacy says what to do where connections are in ipsec.conf; empty: there are none.
func (c *checker) legacy() string {
	if c.read == nil {
		return ""
	}
	f, err := c.read(c.legacyConf)
	if err != nil {
		return ""
	}
	found := legacyConnection.FindSubmatch(f.data)
	if found == nil {
		return ""
	}
	return "; " + c.legacyConf + " has connections (" + string(found[1]) + "), but ipsec.conf can neither be read nor be steered over VICI: " +
		"write the one for GRE anew as a connection of swanctl.conf, or give identity and psk_file or certificates here"
}
