package preflight

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"cygnet/nhrpd/config"
	"cygnet/vici/swanctl"
)

// rivals checks swanctl.conf for connections that charon would choose, in place of the daemon's,
// for the peers of an interface. It checks every protected interface, because any router may be
// dialled: a spoke by another spoke. A file that cannot be read is reported elsewhere.
func (h Host) rivals(add adder, c *config.Config) {
	for n := range c.Interfaces {
		i := &c.Interfaces[n]
		if !i.Protected || i.IPsec == nil {
			continue
		}
		path := filepath.Join(h.Swanctl, "swanctl.conf")
		if i.IPsec.SwanctlConf != "" {
			path = i.IPsec.SwanctlConf
		}
		file, err := swanctl.Load(path)
		if err != nil {
			continue
		}
		for _, r := range file.Rivals(h.own(i)) {
			asks := "as good for routers that dial in as the daemon's own, and is loaded before it"
			if r.Identity != "" {
				asks = "better for routers with the identity " + r.Identity +
					" than the daemon's own, which asks for none"
			}
			cure := "set remote_identity in [interface." + i.Name + ".ipsec] to what their identities have in common, such as \"*.example.net\""
			if i.IPsec.SwanctlConnection != "" {
				cure = "give " + i.IPsec.SwanctlConnection + " a remote id, such as *.example.net"
			}
			add(Warning, "the connection %s (%s) is %s: charon chooses it for them, and they get no SA for %s; %s, or narrow remote id or remote_addrs of %s",
				r.Name, r.At, asks, i.Name, cure, r.Name)
		}
	}
}

// own returns what charon compares with rivals of an interface's connection.
func (h Host) own(i *config.Interface) swanctl.Own {
	o := swanctl.Own{
		Name:           i.IPsec.SwanctlConnection,
		RemoteIdentity: i.IPsec.RemoteIdentity,
		PSK:            i.IPsec.Auth == config.AuthPSK,
		Locals:         h.locals(i),
	}
	if t := i.IPsec.Swanctl; t != nil {
		o.PSK = t.PSK
		for name, value := range t.Connection {
			if round, ok := value.(map[string]any); ok &&
				strings.HasPrefix(strings.ToLower(name), "remote") {
				o.RemoteIdentity, _ = round["id"].(string)
			}
		}
	}
	return o
}

// locals returns the addresses that a tunnel may send from.
func (h Host) locals(i *config.Interface) []netip.Addr {
	if i.Underlay.Device == "" {
		return i.Underlay.Addresses()
	}
	links, err := h.Links()
	if err != nil {
		return nil
	}
	var all []netip.Addr
	for _, l := range links {
		if !slices.Contains(devices(i), l.Name) {
			continue
		}
		for _, p := range l.Addresses {
			if p.Addr().IsGlobalUnicast() {
				all = append(all, p.Addr())
			}
		}
	}
	return all
}
