package tunnel

import (
	"cmp"
	"net/netip"

	"cygnet/kernel/rtnl"
)

const boundToNothing = "the device that the tunnel is bound to is gone"

// device returns the index of the device that the tunnel has to be bound to, or 0 for none. The
// daemon binds no tunnel of its own, but an adopted tunnel may be bound. The kernel knows the
// device only by its index. If a PPPoE or LTE device was deleted and made again, every packet of
// the tunnel fails until the tunnel is bound to the new device.
//
// If the bound device is gone, device looks for another: the device with the name that the tunnel
// was last seen bound to, or else the underlay's, or else the one with the tunnel's local address.
// While none of them exists, the tunnel stays as it is.
func (t *Tunnel) device(r *rtnl.Conn, have *rtnl.Link, local netip.Addr) (int, error) {
	if have == nil || have.GRE.Device == 0 || have.Elsewhere {
		return deviceOf(have), nil
	}
	now, err := r.LinkByIndex(have.GRE.Device)
	if err != nil {
		return 0, err
	}
	if now != nil {
		t.bound = now.Name
		delete(t.logged, boundToNothing)
		return now.Index, nil
	}
	name := cmp.Or(t.bound, t.cfg.Underlay)
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
