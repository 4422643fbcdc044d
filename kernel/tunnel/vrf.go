package tunnel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// VRF is a VRF as the kernel has it.
type VRF struct {
	Name  string
	Table uint32 // its routing table
	Down  bool   // its device is down, so that programs in it reach nobody

	// Leaks reports whether the kernel looks up in another table what the VRF has no route to. It
	// does so if the VRF has no default route, and the other table, which is mostly the main one,
	// has one.
	Leaks bool
}

// VRFTable returns the routing table of the VRF with this name. It returns 0 if there is no such
// VRF.
func VRFTable(name string) (uint32, error) {
	r, err := rtnl.Open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	l, err := r.LinkByName(name)
	if err != nil || l == nil {
		return 0, err
	}
	return l.VRFTable, nil
}

// vrfAround returns the VRF that a tunnel is in; the zero value if it is in none.
func vrfAround(r *rtnl.Conn, tunnel *rtnl.Link) (VRF, error) {
	l, err := vrfOf(r, tunnel)
	if err != nil || l == nil {
		return VRF{}, err
	}
	v := VRF{Name: l.Name, Table: l.VRFTable, Down: !l.Up}
	for _, unknown := range []string{"192.0.0.8", "2000::8"} {
		leaks, err := leavesVRF(r, l, netip.MustParseAddr(unknown))
		if err != nil {
			return v, err
		}
		v.Leaks = v.Leaks || leaks
	}
	return v, nil
}

// vrfOf returns the VRF that a link is in, or nil if it is in none.
func vrfOf(r *rtnl.Conn, l *rtnl.Link) (*rtnl.Link, error) {
	if l.Master == 0 {
		return nil, nil
	}
	master, err := r.LinkByIndex(l.Master)
	if err != nil || master == nil || master.Kind != rtnl.KindVRF {
		return nil, err
	}
	return master, nil
}

// leavesVRF reports whether the kernel takes the route from a VRF to an address out of another
// table. It returns false if there is no route.
func leavesVRF(r *rtnl.Conn, vrf *rtnl.Link, to netip.Addr) (bool, error) {
	head := make([]byte, rtnl.RouteHeaderLen)
	head[0], head[1] = rtnl.Family(to), byte(to.BitLen())
	if to.Is4() { // IPv6 says the table of a route without this flag, and refuses the flag
		binary.NativeEndian.PutUint32(head[8:], unix.RTM_F_LOOKUP_TABLE)
	}
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.RTA_DST, to.AsSlice())
	attributes.Uint32(unix.RTA_OIF, uint32(vrf.Index))
	answers, err := r.Ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETROUTE},
		Data:   append(head, rtnl.Encode(attributes)...),
	})
	if _, refused := rtnl.Refusal(err); refused {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, m := range answers {
		if route, ok := rtnl.ParseRoute(m); ok {
			return route.Table != vrf.VRFTable, nil
		}
	}
	return false, nil
}

// master returns the VRF that the tunnel has to be in, or nil if the configuration names none.
// While that VRF does not exist, master returns an error and sets the tunnel down: otherwise the
// overlay would be in the main routing table, beside the networks that the VRF keeps it apart from.
func (t *Tunnel) master(r *rtnl.Conn, have *rtnl.Link) (*rtnl.Link, error) {
	if t.cfg.Master == "" {
		return nil, nil
	}
	l, err := r.LinkByName(t.cfg.Master)
	if err != nil {
		return nil, err
	}
	t.waits = l == nil || l.Kind != rtnl.KindVRF
	if !t.waits {
		t.state.MasterTable = l.VRFTable
		return l, nil
	}
	if have != nil && have.Up {
		if err := r.SetDown(have.Index); err != nil {
			return nil, rtnl.Explain(err, "set %s down until the VRF %s exists",
				have.Name, t.cfg.Master)
		}
		t.log.Warn("the tunnel was set down, since its VRF does not exist", "vrf", t.cfg.Master)
		t.state.Up = false
	}
	if l != nil {
		return nil, fmt.Errorf("put %s into the VRF %s: that interface is no VRF; correct vrf",
			t.cfg.Name, t.cfg.Master)
	}
	return nil, fmt.Errorf("put %s into the VRF %s: there is no such VRF; the tunnel waits for it (ip link add %s type vrf table NUMBER)",
		t.cfg.Name, t.cfg.Master, t.cfg.Master)
}

// enslave puts the tunnel into a VRF, unless it is there. The kernel then forgets the tunnel's
// routes, its IPv6 addresses and all its neighbours: configure puts the addresses back, and
// tables.Tables the rest. A tunnel without Config.Master stays in the VRF that it is in.
func (t *Tunnel) enslave(r *rtnl.Conn, l, vrf *rtnl.Link) error {
	if vrf == nil || l.Master == vrf.Index {
		return nil
	}
	if err := r.SetMaster(l.Index, vrf.Index); err != nil {
		return rtnl.Explain(err, "put %s into the VRF %s", l.Name, vrf.Name)
	}
	l.Master = vrf.Index
	if t.ready {
		t.log.Warn("the tunnel was not in its VRF: put it back",
			"vrf", vrf.Name, "table", vrf.VRFTable)
	} else {
		t.log.Info("the tunnel was put into its VRF", "vrf", vrf.Name, "table", vrf.VRFTable)
	}
	return nil
}
