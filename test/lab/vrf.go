package lab

import (
	"fmt"
	"slices"
)

// vrf is the VRF of a node. The zero value stands for none.
type vrf struct {
	name  string
	table int
}

// of returns the arguments of a command with the option that names the VRF, if there is one.
func (v vrf) of(option string, args ...string) []string {
	switch {
	case v.name == "":
		return args
	case option == "vrf": // iproute2 has it behind the route
		return append(slices.Clone(args), option, v.name)
	}
	return append([]string{option, v.name}, args...)
}

// MakeVRF makes a VRF, which nothing is in. What it has no route to is unreachable. The routes that
// say so outlive the VRF.
func (n *Node) MakeVRF(name string, table int) {
	n.net.Helper()
	n.IP(fmt.Sprintf("link add %s up type vrf table %d", name, table),
		fmt.Sprintf("route replace unreachable default vrf %s metric 4278198272", name),
		fmt.Sprintf("route replace unreachable ::/0 vrf %s metric 4278198272", name))
}

// LookInto has Routes, NextHop, Ping and Reaches of the node look into a VRF from now on.
func (n *Node) LookInto(name string, table int) { n.vrf = vrf{name, table} }

// UseVRF puts the overlay and the LAN of each site into a VRF. Routes, NextHop, Ping and Reaches of
// the routers look into that VRF from then on. The underlay stays in the main table.
func (m *Mesh) UseVRF(name string, table int) {
	m.Helper()
	for _, s := range m.Sites() {
		s.MakeVRF(name, table)
		s.IP("link set lan0 master " + name)
		s.LookInto(name, table)
	}
	m.Add(fmt.Sprintf("vrf = %q", name))
}
