package preflight

import (
	"fmt"
	"net/netip"
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cygnet/kernel/rtnl"
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
	Underlay  rtnl.Underlay  // those of Addresses that a tunnel would send from
}

// carries reports whether a tunnel can send from the device. Without IPsec it cannot send from an
// IPv6 address.
func (l *Link) carries(i *config.Interface) bool {
	return l.Underlay.V4.IsValid() || i.Protected && l.Underlay.V6.IsValid()
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

// underlay checks what a tunnel sends from: its fixed addresses, or a device, or several devices of
// which it uses one at a time.
func (n *network) underlay(i *config.Interface) {
	if i.Underlay.Device == "" {
		for _, a := range i.Underlay.Addresses() {
			n.local(i, a)
		}
		return
	}
	all := devices(i)
	var faults []fault
	for _, device := range all {
		if f := n.fault(i, device); f.text != "" {
			faults = append(faults, f)
		}
	}
	if len(faults) == len(all) {
		n.sendsNothing(i, faults)
		return
	}
	for _, f := range faults {
		if f.stays {
			n.add(Warning, i, "%s, so the tunnel cannot use it: correct or remove its name in underlay",
				f.text)
		} else {
			n.add(Advice, i, "%s, and the tunnel cannot use it until it has %s",
				f.text, usable(i))
		}
	}
}

// devices returns the devices that a tunnel can send from, best first.
func devices(i *config.Interface) []string {
	return append([]string{i.Underlay.Device}, i.Reserve...)
}

// usable names the addresses that a tunnel can send from.
func usable(i *config.Interface) string {
	if i.Protected {
		return "an IPv4 or a global IPv6 address"
	}
	return "an IPv4 address"
}

// fault is why a tunnel cannot send from a device.
type fault struct {
	text  string // empty: it can
	stays bool   // until somebody changes the configuration
}

// fault returns why a tunnel cannot send from a device.
func (n *network) fault(i *config.Interface, device string) fault {
	k := slices.IndexFunc(n.links, func(l Link) bool { return l.Name == device })
	switch {
	case k < 0 && comesLater.MatchString(device):
		return fault{"there is no device " + device + " yet", false}
	case k < 0:
		return fault{"this host has no device " + device, true}
	case n.links[k].carries(i):
		return fault{}
	case n.links[k].Loopback:
		return fault{
			device + " is the loopback device and has no address that others can reach", true,
		}
	case n.links[k].Underlay.V6.IsValid():
		return fault{device + " has IPv6 addresses only, which need IPsec", false}
	}
	return fault{device + " has no address yet that the tunnel can send from", false}
}

// sendsNothing adds a finding about a tunnel that can send from none of its devices.
func (n *network) sendsNothing(i *config.Interface, faults []fault) {
	texts := make([]string, len(faults))
	for k, f := range faults {
		texts[k] = f.text
	}
	why := strings.Join(texts, ", ")
	who := "it"
	if len(faults) > 1 {
		who = "one of them"
	}
	if slices.ContainsFunc(faults, func(f fault) bool { return !f.stays }) {
		n.add(Warning, i, "%s, and nothing can be sent until %s has %s", why, who, usable(i))
		return
	}
	n.add(Error, i, "%s, so nothing can be sent: set underlay to one of %s", why, n.candidates(i))
}

// candidates names the devices that a tunnel could send from.
func (n *network) candidates(i *config.Interface) string {
	var names []string
	for k := range n.links {
		if n.links[k].carries(i) {
			names = append(names, n.links[k].Name)
		}
	}
	if len(names) == 0 {
		return "the devices that lead to the other routers (none has " + usable(i) + " yet)"
	}
	return strings.Join(names, ", ")
}

// local checks a fixed address that a tunnel sends from. If no device has the address but a
// device's network contains it, the address may still come, by DHCP or VRRP.
func (n *network) local(i *config.Interface, a netip.Addr) {
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
	what := "nothing can be sent"
	if len(i.Underlay.Addresses()) > 1 {
		what += " over " + version(a)
	}
	if near != "" {
		n.add(Warning, i, "no device has the address %s yet, and %s until one has it; it is of the network of %s",
			a, what, near)
		return
	}
	n.add(Error, i, "no device of this host has the address %s, so %s: set underlay to an address or a device of this host (%s)",
		a, what, n.candidates(i))
}

// version names the IP version of an address.
func version(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
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
	return l.Underlay.V6.IsValid()
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
