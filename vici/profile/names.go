package profile

import (
	"net/netip"
	"strconv"
	"strings"
)

// Prefix begins the name of every connection that this package names.
const Prefix = "cygnet-"

// ChildName is the name of the child for all GRE in the connections that this package builds.
const ChildName = "gre"

// ConnectionName returns the name of the template of an interface (zero address), or of the
// connection by which this end dials a peer.
//
// An interface may have a name like that of another one's connection: the template of
// "dmvpn-192.0.2.1" would be called like the connection of "dmvpn" to 192.0.2.1. The name of such a
// template ends in anyPeer.
func ConnectionName(iface string, peer netip.Addr) string {
	switch {
	case peer.IsValid():
		return Prefix + iface + "-" + peer.String()
	case takenForAnother(iface):
		return Prefix + iface + anyPeer
	}
	return Prefix + iface
}

// anyPeer ends the name of a template that would otherwise be read as a connection to a peer.
const anyPeer = "-any"

// takenForAnother reports whether ParseName would read another interface, or a peer, from the name
// that begins with Prefix and ends with this interface.
func takenForAnother(iface string) bool {
	read, peer, _ := ParseName(Prefix + iface)
	return peer.IsValid() || read != iface
}

// sharedSuffix ends the name of the connection that routers behind one address dial in by.
const sharedSuffix = "-nat"

// SharedName returns the name of the connection by which several routers behind one address dial
// in.
func SharedName(iface string, address netip.Addr) string {
	return ConnectionName(iface, address) + sharedSuffix
}

// RecallName returns the name of the connection by which this end dials one of the routers behind
// an address, through its port at the NAT.
func RecallName(iface string, address netip.Addr, port uint16) string {
	return SharedName(iface, address) + "-" + strconv.Itoa(int(port))
}

// GivesMarks reports whether a connection of this name is ours and gives each of its SAs a mark.
func GivesMarks(name string) bool {
	iface, address, ours := ParseName(name)
	return ours && address.IsValid() && strings.HasPrefix(name, SharedName(iface, address))
}

// withoutSharedSuffix cuts off what SharedName and RecallName append to the name of a connection to
// an address. It reports whether there was such an ending.
func withoutSharedSuffix(name string) (string, bool) {
	if i := strings.LastIndex(name, sharedSuffix+"-"); i >= 0 {
		if _, err := strconv.ParseUint(name[i+len(sharedSuffix)+1:], 10, 16); err == nil {
			return name[:i], true
		}
	}
	return strings.CutSuffix(name, sharedSuffix)
}

// ParseName returns the interface and peer from which ConnectionName, SharedName or RecallName made
// a name; the zero address for a template. ok is false for names that are not ours.
func ParseName(name string) (iface string, peer netip.Addr, ok bool) {
	if outer, found := strings.CutSuffix(name, anyPeer); found && len(outer) > len(Prefix) &&
		strings.HasPrefix(outer, Prefix) {
		if inner := outer[len(Prefix):]; takenForAnother(inner) {
			return inner, netip.Addr{}, true
		}
	}
	if outer, found := withoutSharedSuffix(name); found {
		if iface, peer, ok = ParseName(outer); ok && peer.IsValid() {
			return iface, peer, true
		}
	}
	if len(name) <= len(Prefix) || name[:len(Prefix)] != Prefix {
		return "", netip.Addr{}, false
	}
	iface = name[len(Prefix):]
	for i := len(iface) - 1; i > 0; i-- {
		if iface[i] != '-' {
			continue
		}
		if a, err := netip.ParseAddr(iface[i+1:]); err == nil {
			return iface[:i], a, true
		}
		break
	}
	return iface, netip.Addr{}, true
}
