package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"

	"golang.org/x/sys/unix"
)

// releaseGuard removes the guard of an address, unless a GRE tunnel uses the address. This tunnel
// itself counts only if it is protected.
func (t *Tunnel) releaseGuard(r *rtnl.Conn, local netip.Addr) error {
	if !local.IsValid() || local.IsUnspecified() {
		return nil
	}
	tunnels, err := r.GRELinks()
	if err != nil {
		return err
	}
	for _, l := range tunnels {
		if l.GRE.Local != local || !t.cfg.Protected && l.Name == t.cfg.Name {
			continue
		}
		if why := fmt.Sprintf("the guard of %s stays for %s", local, l.Name); !t.logged[why] {
			t.logged[why] = true
			t.log.Info("a guard stays where there is one: a tunnel uses the address",
				"local", local, "tunnel", l.Name)
		}
		return nil
	}
	return xfrm.RemoveGuard(local)
}

// releaseFormer removes the guards of IPv6 addresses that the tunnel no longer sends from, as far
// as no link sends from them any more.
func (t *Tunnel) releaseFormer(r *rtnl.Conn, six netip.Addr) error {
	if six.IsValid() && t.cfg.Protected {
		delete(t.former, six)
	}
	var failed error
	for local := range t.former {
		tunnels, err := r.GRELinks()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(tunnels, func(l *rtnl.Link) bool { return l.GRE.Local == local }) {
			continue
		}
		err = xfrm.RemoveGuard(local)
		failed = errors.Join(failed, err)
		if err == nil {
			delete(t.former, local)
		}
	}
	return failed
}

// Remove removes the link, if this package made it, and then the guard. The guard stays if a GRE
// tunnel still uses the address: an adopted tunnel stays, and stays guarded. Before Remove is
// called, everything else that sends from the tunnel's address must be gone.
func (t *Tunnel) Remove() error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	have, err := r.LinkByName(t.cfg.Name)
	if err != nil {
		return err
	}
	locals := map[netip.Addr]bool{
		t.state.Local: true, t.cfg.Local: true, t.state.Local6: true, t.cfg.Local6: true,
	}
	for local := range t.former {
		locals[local] = true
	}
	if have != nil && have.IsGRE() {
		locals[have.GRE.Local] = true
		if have.Alias == Alias {
			if err := r.DeleteLink(have.Index); err != nil && !errors.Is(err, unix.ENODEV) {
				return rtnl.Explain(err, "remove the tunnel %s", t.cfg.Name)
			}
			t.log.Info("tunnel removed")
		} else if have.Dormant {
			if err := r.SetDormant(have.Index, false); err != nil && !errors.Is(err, unix.ENODEV) {
				return rtnl.Explain(err, "set the operational state of %s to up", t.cfg.Name)
			}
		}
	}
	var problems error
	for local := range locals {
		problems = errors.Join(problems, t.releaseGuard(r, local))
	}
	t.state, t.ready, t.known = State{}, false, false
	return problems
}
