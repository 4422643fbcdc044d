package tunnel

import (
	"cmp"
	"fmt"
	"net/netip"

	"cygnet/kernel/rtnl"
)

const boundToNothing = "the device that the tunnel is bound to is gone"

// device returns the index of the device that the tunnel has to be bound to, or 0 for none. That is
// the VRF of the underlay, if one is configured. Otherwise the daemon binds no tunnel of its own,
// but others may have bound it. The kernel knows the device only by its index. If a PPPoE or LTE
// device was deleted and made again, every packet of the tunnel fails until the tunnel is bound to
// the new device.
//
// If the bound device is gone, device looks for another: the device with the name that the tunnel
// was last seen bound to, or else the underlay's, or else the one with the tunnel's local address.
// While none of them exists, the tunnel stays as it is.
func (t *Tunnel) device(r *rtnl.Conn, have *rtnl.Link, local netip.Addr) (int, error) {
	t.state.VRFTable, t.state.VRF = 0, 0
	if t.cfg.VRF != "" {
		return t.vrf(r)
	}
	if have == nil || have.GRE.Device == 0 || have.Elsewhere {
		return deviceOf(have), nil
	}
	now, err := r.LinkByIndex(have.GRE.Device)
	if err != nil {
		return 0, err
	}
	if now != nil {
		if have.Alias == Alias && now.Kind == rtnl.KindVRF {
			stays, err := hasPortWith(r, now.Index, local)
			if err != nil || !stays {
				return 0, err
			}
		}
		t.bound = now.Name
		delete(t.logged, boundToNothing)
		return now.Index, nil
	}
	name := cmp.Or(t.bound, *t.underlay.Load())
	if name == "" {
		return deviceWith(r, local, have.GRE.Device)
	}
	again, err := r.LinkByName(name)
	if err != nil {
		return 0, err
	}
	if again == nil {
		if !t.logged[boundToNothing] {
			t.logged[boundToNothing] = true
			t.log.Warn(boundToNothing+": nothing can be sent until it is back", "device", name)
		}
		return have.GRE.Device, nil
	}
	t.log.Info("the device that the tunnel is bound to was made again: binding the tunnel to it",
		"device", name)
	return again.Index, nil
}

// vrf returns the index of the underlay's VRF, and notes its table.
func (t *Tunnel) vrf(r *rtnl.Conn) (int, error) {
	l, err := r.LinkByName(t.cfg.VRF)
	switch {
	case err != nil:
		return 0, err
	case l == nil:
		return 0, fmt.Errorf("bind %s to the VRF %s: there is no such device: ip link add %s type vrf table 100",
			t.cfg.Name, t.cfg.VRF, t.cfg.VRF)
	case l.Kind != rtnl.KindVRF:
		return 0, fmt.Errorf("bind %s to the VRF %s: that device is no VRF: set underlay_vrf to the VRF that the underlay is in",
			t.cfg.Name, t.cfg.VRF)
	}
	t.state.VRFTable, t.state.VRF = l.VRFTable, l.Index
	return l.Index, nil
}

// hasPortWith reports whether a VRF has a port with the address local. Without one, a tunnel that
// is bound to the VRF carries nothing: an earlier configuration of the underlay left it so.
func hasPortWith(r *rtnl.Conn, vrf int, local netip.Addr) (bool, error) {
	index, err := deviceWith(r, local, 0)
	if err != nil || index == 0 {
		return true, err
	}
	port, err := r.LinkByIndex(index)
	return port == nil || port.Master == vrf || port.Index == vrf, err
}

// LocalOf returns the address that a tunnel on this host sends from. It returns the zero address if
// there is no such tunnel, or if the kernel cannot be asked.
func LocalOf(name string) netip.Addr {
	r, err := rtnl.Open()
	if err != nil {
		return netip.Addr{}
	}
	defer r.Close()
	l, err := r.LinkByName(name)
	if err != nil || l == nil || l.Kind != rtnl.KindGRE {
		return netip.Addr{}
	}
	return l.GRE.Local
}

// deviceOf returns the index of the device that a tunnel is bound to, or 0 for none.
func deviceOf(l *rtnl.Link) int {
	if l == nil {
		return 0
	}
	return l.GRE.Device
}

// deviceWith returns the index of the device that has the address local. If there is none, it
// returns the index otherwise.
func deviceWith(r *rtnl.Conn, local netip.Addr, otherwise int) (int, error) {
	all, err := r.AllAddresses()
	if err != nil {
		return 0, err
	}
	for _, a := range all {
		if a.Prefix.Addr() == local {
			return a.Index, nil
		}
	}
	return otherwise, nil
}
