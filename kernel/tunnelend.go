package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"

	"golang.org/x/sys/unix"
)

// releaseGuard removes the guard of an address that no GRE tunnel uses any more, this one left out
// where it is not protected.
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
		if why := fmt.Sprintf("the guard of %s stays for %s", local, l.Name); !t.said[why] {
			t.said[why] = true
			t.log.Info("a guard stays where there is one: a tunnel uses the address", "local", local, "tunnel", l.Name)
		}
		return nil
	}
	return xfrm.RemoveGuard(local)
}

// Remove says goodbye: it removes the link if it is ours, and then the guard, unless a GRE tunnel
// that uses the address stays (one that was adopted stays, and stays guarded). What sends through
// the tunnel's address in other ways must be gone before.
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
	locals := map[netip.Addr]bool{t.state.Local: true, t.cfg.Local: true}
	if have != nil && have.IsGRE() {
		locals[have.GRE.Local] = true
		if have.Alias == TunnelAlias {
			if err := r.DeleteLink(have.Index); err != nil && !errors.Is(err, unix.ENODEV) {
				return rtnl.Explain(err, "remove the tunnel %s", t.cfg.Name)
			}
			t.log.Info("tunnel removed")
		}
	}
	var problems error
	for local := range locals {
		problems = errors.Join(problems, t.releaseGuard(r, local))
	}
	t.state, t.ready, t.known = TunnelState{}, false, false
	return problems
}
