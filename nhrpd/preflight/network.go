package preflight

import (
	"fmt"
	"net/netip"
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cygnet/nhrpd/config"
)

// Link is a network interface of the host.
type Link struct {
	Name      string
	Loopback  bool
	MTU       int    // 0: not known
	VRF       string // the VRF that it is in or that it is; empty: none
	IsVRF     bool
	Addresses []netip.Prefix // the addresses with their prefix lengths, host bits included
}

// usable returns the IPv4 addresses that a tunnel can send from.
func (l *Link) usable() []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(l.Addresses), func(p netip.Prefix) bool {
		return !p.Addr().Is4() || !p.Addr().IsGlobalUnicast()
	})
}

// network collects the findings about devices and addresses.
type network struct {
	links []Link // those of the host, without the tunnels of the configuration
	found []Finding
}

// Network compares the configuration with the interfaces and addresses of the host: the addresses
// that tunnels send from, the overlays, and the NHSs.
func (h Host) Network(c *config.Config) []Finding {
	all, err := h.Links()
	if err != nil {
		return []Finding{{
			About:    AboutNetwork,
			Severity: Warning,
			Text:     "it was not looked at: " + err.Error(),
		}}
	}
	n := &network{links: slices.DeleteFunc(all, func(l Link) bool {
		return slices.ContainsFunc(c.Interfaces, func(i config.Interface) bool {
			return i.Name == l.Name
		})
	})}
	for k := range c.Interfaces {
		i := &c.Interfaces[k]
		n.vrf(i)
		n.underlay(i)
		for _, f := range i.Families() {
			n.overlay(i, f)
		}
		n.servers(i)
		n.mtu(i)
	}
	return n.found
}

// add adds a finding about an interface.
func (n *network) add(s Severity, i *config.Interface, format string, args ...any) {
	n.found = append(n.found, Finding{
		About:     AboutNetwork,
		Severity:  s,
		Interface: i.Name,
		Text:      fmt.Sprintf(format, args...),
	})
}

// comesLater matches the names of devices that may come later: when a connection comes up, or when
// somebody plugs a device in.
var comesLater = regexp.MustCompile(`^(ppp|wwan|wwx|wwp|usb|enx|tun|tap|wg|vlan|bond|br|team|dummy|veth|vrf|ipvlan|macvlan|l2tp)|[.@]`)

// underlay checks the device that a tunnel sends from, or else the address.
func (n *network) underlay(i *config.Interface) {
	u := i.Underlay
	if u.Device == "" {
		n.local(i)
		return
	}
	k := slices.IndexFunc(n.links, func(l Link) bool { return l.Name == u.Device })
	switch {
	case k < 0 && comesLater.MatchString(u.Device):
		n.add(Warning, i, "there is no device %s yet, and nothing can be sent until there is one with an IPv4 address",
			u.Device)
	case k < 0:
		n.add(Error, i, "this host has no device %s, so nothing can be sent: set underlay to one of %s",
			u.Device, n.devices())
	case len(n.links[k].usable()) > 0:
	case n.links[k].Loopback:
		n.add(Error, i, "%s is the loopback device and has no address that others can reach: set underlay to one of %s",
			u.Device, n.devices())
	default:
		n.add(Warning, i, "%s has no IPv4 address yet, and nothing can be sent until it has one",
			u.Device)
	}
}

// devices names the devices that a tunnel could send from.
func (n *network) devices() string {
	var names []string
	for _, l := range n.links {
		if len(l.usable()) > 0 {
			names = append(names, l.Name)
		}
	}
	if len(names) == 0 {
		return "the devices that lead to the other routers (none has an IPv4 address yet)"
	}
	return strings.Join(names, ", ")
}

// local checks the fixed address that a tunnel sends from. If no device has the address but a
// device's network contains it, the address may still come, by DHCP or VRRP.
func (n *network) local(i *config.Interface) {
	a := i.Underlay.Address
	near := ""
	for _, l := range n.links {
		for _, p := range l.Addresses {
			if p.Addr() == a {
				return
			}
			if p.Masked().Contains(a) {
				near = l.Name
			}
		}
	}
	if near != "" {
		n.add(Warning, i, "no device has the address %s yet, and nothing can be sent until one has it; it is of the network of %s",
			a, near)
		return
	}
	n.add(Error, i, "no device of this host has the address %s, so nothing can be sent: set underlay to an address or a device of this host (%s)",
		a, n.devices())
}

// overlay checks for networks of the host that overlap with one family of the overlay. Those in
// other VRFs than the tunnel do not concern it.
func (n *network) overlay(i *config.Interface, f config.Family) {
	overlay := f.Address.Masked()
	for _, l := range n.links {
		if l.VRF != i.VRF {
			continue
		}
		for _, p := range l.Addresses {
			switch {
			case p.Addr() == f.Address.Addr():
				n.add(Error, i,
					"%s has the overlay address %s already: give the tunnel another one",
					l.Name, p.Addr())
			case f.Address.IsSingleIP() ||
				p.Addr().Is4() != overlay.Addr().Is4() ||
				!p.Masked().Overlaps(overlay):
			case n.isUnderlay(&l, i):
				n.add(Error, i, "the overlay %s overlaps with %s, the network of %s that the tunnel sends from, so that its own packets "+
					"would go into the tunnel: give the overlay a range that nothing else has",
					overlay, p.Masked(), l.Name)
			case (i.Table == mainTable || i.VRF != "") && !l.Loopback:
				n.add(Warning, i, "the overlay %s overlaps with %s, the network of %s, and only one of them can be reached: "+
					"give the overlay a range that nothing else has",
					overlay, p.Masked(), l.Name)
			}
		}
	}
}

// mainTable is the number of the kernel's main routing table.
const mainTable = 254

// isUnderlay reports whether the tunnel sends from the device l.
func (n *network) isUnderlay(l *Link, i *config.Interface) bool {
	return l.Name == i.Underlay.Device ||
		slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool {
			return i.Underlay.Has(p.Addr())
		})
}

// servers checks that no NHS is this host itself.
func (n *network) servers(i *config.Interface) {
	for _, nhs := range i.NHS {
		a, err := netip.ParseAddr(nhs.NBMA)
		if err != nil {
			continue
		}
		for _, l := range n.links {
			if slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool {
				return p.Addr() == a
			}) {
				n.add(Error, i, "the NHS %s is an address of this router itself (%s): give the address of the hub",
					a, l.Name)
			}
		}
	}
}

// mtu checks that the packets of a tunnel leave each device of its underlay in one piece.
func (n *network) mtu(i *config.Interface) {
	var devices []*Link
	least := 0
	for k := range n.links {
		l := &n.links[k]
		if !n.isUnderlay(l, i) && !slices.Contains(i.Reserve, l.Name) || l.Loopback || l.MTU == 0 {
			continue
		}
		devices = append(devices, l)
		if least == 0 || l.MTU < least {
			least = l.MTU
		}
	}
	have := i.MTU
	if i.AutoMTU {
		have = i.FitMTU(least)
	}
	for _, l := range devices {
		n.fits(i, l, have)
	}
}

// fits adds a finding unless packets of the tunnel's MTU fit into a device of the underlay. They
// may fit over IPv4 and not over IPv6, whose header is longer by 20 bytes.
func (n *network) fits(i *config.Interface, l *Link, have int) {
	o := i.Overhead()
	longest := o.Longest(l.MTU)
	if have <= longest {
		n.fitsIPv6(i, l, have)
		return
	}
	around := "GRE"
	if i.Protected {
		around = "GRE, ESP and UDP encapsulation"
	}
	remedy := fmt.Sprintf("set mtu to %d or less on all routers of the overlay", longest)
	if longest < i.LeastMTU() {
		remedy = fmt.Sprintf("give %s a larger MTU", l.Name)
	}
	n.add(Warning, i, "packets of the tunnel's MTU, %d, have up to %d bytes in the underlay with %s around them, and %s takes %d: %s; "+
		"the longest that leaves in one piece has %d: %s",
		have, o.Outer(have), around, l.Name, l.MTU, tooLong[i.OuterDF], longest, remedy)
}

// fitsIPv6 adds a finding if the tunnel can send from an IPv6 address of a device of the underlay,
// and packets of the tunnel's MTU do not fit over IPv6.
func (n *network) fitsIPv6(i *config.Interface, l *Link, have int) {
	o := i.OverheadIPv6()
	longest := o.Longest(l.MTU)
	if !i.Protected || have <= longest || !sendsOverIPv6(i, l) {
		return
	}
	severity := Warning
	if !i.OverIPv6() {
		severity = Advice // there may be no router at an IPv6 address
	}
	n.add(severity, i, "to routers at IPv6 addresses, packets of the tunnel's MTU, %d, have %d bytes in the underlay, since the header of IPv6 is 20 bytes longer than that of IPv4, "+
		"and %s takes %d: they are lost, and their sender is told; the longest that passes has %d: set mtu to %d or less on all routers of the overlay",
		have, o.Outer(have), l.Name, l.MTU, longest, longest)
}

// sendsOverIPv6 reports whether a tunnel can send from an IPv6 address of a device.
func sendsOverIPv6(i *config.Interface, l *Link) bool {
	if i.Underlay.Device == "" {
		return i.Underlay.Address6.IsValid()
	}
	return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool {
		a := p.Addr()
		return a.Is6() && a.IsGlobalUnicast()
	})
}

// tooLong says what becomes of packets that are longer than the underlay takes.
var tooLong = map[config.OuterDF]string{
	"":                   "they leave in fragments",
	config.OuterDFNever:  "they leave in fragments",
	config.OuterDFCopy:   "those with don't fragment are lost, and all others leave in fragments",
	config.OuterDFAlways: "they are lost",
}

// daemon checks what the table [daemon] names.
func (h Host) daemon(c *config.Config) []Finding {
	var found []Finding
	for _, g := range []struct{ key, name, so string }{
		{"api_group", c.Daemon.APIGroup, "so only root can use cygnet"},
		{"api_view_group", c.Daemon.APIViewGroup, "so nobody can look by it"},
	} {
		if g.name == "" || h.Group(g.name) == nil {
			continue
		}
		found = append(found, Finding{
			About:    AboutDaemon,
			Severity: Error,
			Text: fmt.Sprintf("%s: this host has no group %q, %s: groupadd --system %s, or correct the name",
				g.key, g.name, g.so, g.name),
		})
	}
	return found
}

// lookupGroup returns an error if the host has no group of that name. A number needs no group.
func lookupGroup(name string) error {
	if _, err := strconv.ParseUint(name, 10, 31); err == nil {
		return nil
	}
	_, err := user.LookupGroup(name)
	return err
}
