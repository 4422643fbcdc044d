package profile

import (
	"strconv"
	"strings"

	"cygnet/vici/ike"
)

// Interfaces that send from one address may have SAs of their own, each for its GRE key alone. The
// traffic selectors of such an SA have the two halves of the key in the place of the ports, and
// charon takes one number for both.
//
// A router that dials in says which key it means only in the traffic selectors. charon has chosen a
// connection by then, by addresses and identities, and all connections of such interfaces fit
// alike. So each of them has a child for every interface. The name of the child that charon chooses
// tells which interface an SA is for.
//
// Each interface has IKE_SAs of its own. Otherwise the end of one interface, or of its SA with a
// router, would be that of the others. charon uses one IKE_SA for all connections that do not
// differ in what counts for IKE, so those of two interfaces differ in a key that IKEv2 has no use
// for.

// Keyed is an interface whose SAs are for its GRE key alone.
type Keyed struct {
	Interface string
	// KeyPort is either half of the GRE key, which is KeyPort<<16 | KeyPort; 0: the SAs of the
	// interface are for all GRE.
	KeyPort uint16
}

// key returns the GRE key.
func (k Keyed) key() uint32 { return uint32(k.KeyPort)<<16 | uint32(k.KeyPort) }

// selectorPort returns the port that traffic selectors of the interface's SAs have; "" for none.
func (k Keyed) selectorPort() string {
	if k.KeyPort == 0 {
		return ""
	}
	return strconv.Itoa(int(k.KeyPort))
}

// keyedChild begins the name of a child for one GRE key. The name of the interface follows.
const keyedChild = ChildName + "-"

// ChildName returns the name of the interface's child in its connections.
func (p Profile) ChildName() string {
	if p.KeyPort == 0 {
		return ChildName
	}
	return keyedChild + p.Interface
}

// ChildInterface returns the interface that a child's name is of; "" if the connection's name tells
// it.
func ChildInterface(child string) string {
	iface, _ := strings.CutPrefix(child, keyedChild)
	if iface == child {
		return ""
	}
	return iface
}

// Attribute fills in what the names of an SA's connection and of its oldest child say about the SA.
// The connection has to be one that this package names.
func Attribute(sa *ike.SA) {
	sa.Interface, _, _ = ParseName(sa.Connection)
	sa.SelectedByMark = GivesMarks(sa.Connection)
	var oldest ike.Child
	for _, c := range sa.Children {
		if oldest.ID == 0 || c.ID < oldest.ID {
			oldest = c
		}
	}
	if iface := ChildInterface(oldest.Name); iface != "" && sa.Interface != "" {
		sa.Interface = iface
	}
}

// children returns the children of each of the interface's connections: its own and, with a
// KeyPort, those of the interfaces beside it.
func (p Profile) children() map[string]any {
	children := map[string]any{p.ChildName(): p.child(p.KeyPort)}
	for _, o := range p.Beside {
		if p.KeyPort != 0 {
			children[keyedChild+o.Interface] = p.child(o.KeyPort)
		}
	}
	return children
}

// greSelector returns the traffic selector for GRE, or for GRE with one key.
func greSelector(keyPort uint16) []string {
	if keyPort == 0 {
		return []string{"dynamic[gre]"}
	}
	return []string{"dynamic[gre/" + Keyed{KeyPort: keyPort}.selectorPort() + "]"}
}

// setApart makes charon take an interface's connections for others than those of the interfaces
// beside it.
func (p Profile) setApart(conn map[string]any) {
	if p.KeyPort == 0 {
		return
	}
	conn["unique"] = "never" // a new IKE_SA of one interface must not end those of the others
	if local, ok := conn["local"].(map[string]any); ok {
		local["xauth_id"] = p.ChildName() // of IKEv1
	}
}
