// Package tunnel owns an mGRE tunnel: it creates or adopts the device, keeps it as configured while
// others change it, guards its local address, and removes it (Tunnel). It also finds out what
// others set up around a tunnel (LookAround), guards a tunnel before the daemon runs (GuardEarly),
// and finds and releases what an earlier run left in the kernel (FindLeftovers, ReleaseGuards).
package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/schedule"
	"cygnet/kernel/sysctl"
	"cygnet/kernel/xfrm"

	"golang.org/x/sys/unix"
)

// Alias is the alias of the links that this package created. It may therefore recreate and remove
// them. `ip link` shows the alias.
const Alias = "cygnet"

// Config describes an mGRE tunnel.
type Config struct {
	Name    string
	Address netip.Prefix // overlay address and the overlay's prefix length
	Local   netip.Addr   // NBMA address to send from, IPv4; zero: an address of Underlay

	// Underlay is used if Local is zero. The tunnel sends from the first global IPv4 address of
	// this device, and follows when the address changes.
	Underlay string

	Key *uint32 // nil: without a key
	TTL uint8   // of the outer packets; 0: that of the inner packet
	MTU int     // 0: the kernel's choice

	// ResolveMisses has the kernel report missing neighbours by netlink (watch.Misses), and hold
	// packets for them for 5 s meanwhile.
	ResolveMisses bool

	// Protected guards the local address (xfrm.EnsureGuard) from before the tunnel is up until
	// after it is gone. Without Protected, a guard that an earlier configuration left is removed,
	// unless another GRE tunnel uses the address.
	Protected bool

	// Front, with Protected, also sets the front guard (xfrm.EnsureFront). The policies of this
	// tunnel's SAs must then have priorities below xfrm.GuardFront.
	Front bool
}

// State is the state of a tunnel.
type State struct {
	Index   int        // of the link; it changes if the link is recreated
	Local   netip.Addr // NBMA address; zero: the underlay has none now
	Created bool       // this package made the link, in this run or in an earlier one
	Adopted bool       // the link was there when Run started
	Up      bool
	Fault   string // why the tunnel is not as configured; empty: it is as configured
}

// Tunnel owns one mGRE interface. Run and Remove must not run at the same time.
type Tunnel struct {
	cfg   Config
	log   *slog.Logger
	state State
	ready bool   // the tunnel has been as configured at least once
	known bool   // the link has been looked for at least once
	bound string // device that the tunnel was last seen bound to; empty: none
	front bool   // the front guard is set, as of the last call of ensure

	logged map[string]bool // texts that were logged, and are not logged again
}

// New returns a Tunnel. It does nothing before Run.
func New(cfg Config, log *slog.Logger) *Tunnel {
	return &Tunnel{cfg: cfg, log: log.With("interface", cfg.Name), logged: make(map[string]bool)}
}

// Run creates or adopts the tunnel, and keeps it as configured until ctx ends. Then it leaves
// everything in place. Run corrects what others change: it restores a link that was deleted or set
// down, addresses, parameters and the guard. It follows the underlay's address.
//
// Run calls changed, on its own goroutine, after the first try and at every change of the tunnel's
// state. If the tunnel is not as configured, Fault has the reason, and Run tries again. Until the
// tunnel has been as configured for the first time, Run returns errors that only the user can
// remedy: rtnl.ErrNameTaken, rtnl.ErrTunnelTaken, rtnl.ErrNoPermission, rtnl.ErrNoGRE,
// rtnl.ErrNoXFRM and rtnl.ErrIPv6Underlay.
func (t *Tunnel) Run(ctx context.Context, changed func(State)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the monitors even if Run returns an error
	notices, err := t.listen(ctx)
	if err != nil {
		return err
	}
	policies, err := t.listenGuard(ctx)
	if err != nil {
		return err
	}
	retry := schedule.NewBackoff(schedule.RetryFirst, schedule.RetryLimit)
	lastError := ""
	for first := true; ctx.Err() == nil; first = false {
		before := t.state
		err := t.ensure()
		if err != nil && !t.ready && rtnl.Permanent(err) {
			return err
		}
		t.state.Fault = ""
		if err != nil {
			t.state.Fault = err.Error()
		}
		if first || t.state != before {
			changed(t.state)
		}
		wait := schedule.AuditInterval
		if err == nil {
			retry.Reset()
			lastError = ""
		} else {
			wait = retry.Delay()
			if err.Error() != lastError {
				t.log.Warn("the tunnel is not as it should be, trying again", "error", err)
				lastError = err.Error()
			}
		}
		t.await(ctx, notices, policies, wait)
	}
	return nil
}

// ensure brings the tunnel into the configured state. It sets the guard first, and sets the link up
// last.
func (t *Tunnel) ensure() error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	have, err := r.LinkByName(t.cfg.Name)
	if err != nil {
		return err
	}
	if err := adoptable(t.cfg.Name, have); err != nil {
		return err
	}
	t.note(have)
	params, err := t.params(r, have)
	if err != nil {
		if errors.Is(err, rtnl.ErrNoAddress) {
			t.state.Local = netip.Addr{}
		}
		return err
	}
	if t.cfg.Protected {
		if err := xfrm.EnsureGuard(params.Local); err != nil {
			return err
		}
		if err := t.ensureFront(params.Local); err != nil {
			return err
		}
	}
	now, err := t.place(r, have, params)
	if err != nil {
		return err
	}
	if err := t.configure(r, now); err != nil {
		return err
	}
	t.state.Index, t.state.Local, t.state.Up = now.Index, params.Local, true
	t.state.Created = now.Alias == Alias
	t.ready = true
	if have != nil && have.GRE.Local != params.Local {
		err = t.releaseGuard(r, have.GRE.Local)
	}
	if !t.cfg.Protected { // it may have been protected before, in an earlier run
		err = errors.Join(err, t.releaseGuard(r, params.Local))
	}
	return err
}

// note logs what others changed about the link since the last call, and updates the state.
func (t *Tunnel) note(have *rtnl.Link) {
	switch {
	case !t.known:
		t.known = true
		t.state.Adopted = have != nil
		if have != nil {
			t.log.Info("adopting the tunnel that is there",
				"ours", have.Alias == Alias, "local", have.GRE.Local)
		}
	case !t.ready:
	case have == nil:
		t.log.Warn("the tunnel was deleted: making it again")
	case !have.Up:
		t.log.Warn("the tunnel was set down: setting it up")
	}
	t.state.Index, t.state.Up = 0, false
	if have != nil {
		t.state.Index, t.state.Up = have.Index, have.Up
	}
}

// adoptable returns an error if the link cannot become the tunnel. It returns nil if there is no
// link.
func adoptable(name string, l *rtnl.Link) error {
	what := ""
	switch {
	case name == "gre0" || name == "ip6gre0":
		what = "the kernel's own fallback device"
	case l == nil, l.Alias == Alias && l.IsGRE(), l.IsNBMA():
		return nil
	case l.IsGRE() && l.External:
		what = "a GRE device in external mode"
	case l.IsGRE():
		what = fmt.Sprintf("a GRE tunnel to the single peer %s", l.Remote)
	case l.Kind == "":
		what = "a hardware interface"
	default:
		what = "an interface of type " + l.Kind
	}
	return fmt.Errorf("interface %s is %s: %w", name, what, rtnl.ErrNameTaken)
}

// params returns the wanted parameters of the tunnel. The link keeps its local address as long as
// the underlay has that address.
func (t *Tunnel) params(r *rtnl.Conn, have *rtnl.Link) (rtnl.GREParams, error) {
	p := rtnl.GREParams{Local: t.cfg.Local, TTL: t.cfg.TTL, Keyed: t.cfg.Key != nil}
	if p.Keyed {
		p.Key = *t.cfg.Key
	}
	if p.Local.Is6() {
		return p, fmt.Errorf("make %s send from %s: %w", t.cfg.Name, p.Local, rtnl.ErrIPv6Underlay)
	}
	// If the site made the tunnel, the site decides whether the tunnel fragments, as it decides the
	// TOS. Run changes this only for the tunnels that this package made.
	p.Fragment = have == nil || have.Alias == Alias || have.GRE.Fragment
	var current netip.Addr
	if have != nil {
		current = have.GRE.Local
	}
	var err error
	if !p.Local.IsValid() {
		if p.Local, err = r.UnderlayAddress(t.cfg.Underlay, current); err != nil {
			return p, err
		}
	}
	p.Device, err = t.device(r, have, p.Local)
	return p, err
}

// place returns the link with the wanted parameters. It leaves the link as it is, changes it in
// place, or makes a new one.
func (t *Tunnel) place(r *rtnl.Conn, have *rtnl.Link, p rtnl.GREParams) (*rtnl.Link, error) {
	name := t.cfg.Name
	switch {
	case have != nil && have.IsNBMA() && have.Matches(p):
		return have, nil
	case have != nil && have.IsNBMA() && have.Kind == rtnl.KindGRE:
		if err := r.ChangeGRE(have, p, cmp.Or(t.cfg.MTU, have.MTU)); err != nil {
			return nil, t.explainGRE(r, err, p, "change the parameters of %s", name)
		}
		t.log.Info("tunnel parameters changed in place", "local", p.Local, "before", have.GRE.Local)
	case have != nil && have.Alias != Alias:
		return nil, fmt.Errorf(
			"interface %s carries GRE over IPv6, and is not ours to recreate: %w",
			name, rtnl.ErrNameTaken)
	default:
		if have != nil {
			if err := r.DeleteLink(have.Index); err != nil && !errors.Is(err, unix.ENODEV) {
				return nil, rtnl.Explain(err, "remove %s to make it again", name)
			}
		}
		if err := t.create(r, p); err != nil {
			return nil, err
		}
	}
	now, err := r.LinkByName(name)
	if err != nil {
		return nil, err
	}
	if now == nil || !now.IsNBMA() {
		return nil, fmt.Errorf("interface %s was changed by somebody else meanwhile", name)
	}
	return now, nil
}

// create creates the link and gives it the alias.
func (t *Tunnel) create(r *rtnl.Conn, p rtnl.GREParams) error {
	if err := r.CreateGRE(t.cfg.Name, p); err != nil {
		return t.explainGRE(r, err, p, "create the tunnel %s", t.cfg.Name)
	}
	made, err := r.LinkByName(t.cfg.Name)
	if err != nil || made == nil {
		return errors.Join(err, fmt.Errorf("the new tunnel %s is gone already", t.cfg.Name))
	}
	if err := r.SetAlias(made.Index, Alias); err != nil {
		return rtnl.Explain(err, "mark the tunnel %s as ours", t.cfg.Name)
	}
	t.log.Info("tunnel created", "local", p.Local, "keyed", p.Keyed)
	return nil
}

// explainGRE wraps the error of a refused creation or change in text that says what was being done,
// and in the sentinel that fits. The kernel returns EEXIST if another tunnel has the same
// parameters.
func (t *Tunnel) explainGRE(
	r *rtnl.Conn, err error, p rtnl.GREParams, format string, args ...any,
) error {
	err = rtnl.Explain(err, format, args...)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w (%w)", rtnl.ErrNoGRE, err)
	case errors.Is(err, unix.EEXIST):
		tunnels, _ := r.GRELinks()
		for _, l := range tunnels {
			if l.Name != t.cfg.Name && l.IsNBMA() && l.GRE.Local == p.Local && l.SameKey(p) {
				return fmt.Errorf("%w: %w: it is %s", err, rtnl.ErrTunnelTaken, l.Name)
			}
		}
	}
	return err
}

// configure sets everything except the tunnel's parameters, and then sets the link up.
func (t *Tunnel) configure(r *rtnl.Conn, l *rtnl.Link) error {
	if l.NoARP {
		if err := r.SetARP(l.Index); err != nil {
			return rtnl.Explain(err, "make %s resolve neighbours (arp on)", l.Name)
		}
	}
	if t.cfg.MTU != 0 && l.MTU != t.cfg.MTU {
		if err := r.SetMTU(l.Index, t.cfg.MTU); err != nil {
			return rtnl.Explain(err, "set the MTU of %s to %d", l.Name, t.cfg.MTU)
		}
	}
	t.sysctls()
	if err := t.address(r, l); err != nil {
		return err
	}
	if l.Up {
		return nil
	}
	return rtnl.Explain(r.SetUp(l.Index), "set %s up", l.Name)
}

// sysctls sets the settings that the tunnel should have. It logs what it changed. The tunnel works
// without the settings, so it logs an error only once.
func (t *Tunnel) sysctls() {
	set, err := sysctl.Ensure(settings(t.cfg))
	for _, s := range set {
		t.log.Info("sysctl set: "+s.Why, "sysctl", s.Path, "value", s.Value)
	}
	if err != nil && !t.logged[err.Error()] {
		t.logged[err.Error()] = true
		t.log.Warn("a setting of the tunnel is not as it should be", "error", err)
	}
}

// address gives the link its overlay address. If this package made the link, address also removes
// other addresses of the same family, since an earlier configuration left them.
func (t *Tunnel) address(r *rtnl.Conn, l *rtnl.Link) error {
	all, err := r.Addresses(l.Index)
	if err != nil {
		return err
	}
	want, there := t.cfg.Address, false
	for _, a := range all {
		there = there || a.Prefix == want
	}
	if !there {
		if err := r.AddAddress(l.Index, want); err != nil {
			return rtnl.Explain(err, "add the address %s to %s", want, l.Name)
		}
	}
	if l.Alias != Alias {
		return nil
	}
	for _, a := range all {
		if a.Prefix == want || a.Scope != unix.RT_SCOPE_UNIVERSE ||
			a.Prefix.Addr().Is4() != want.Addr().Is4() {
			continue
		}
		if err := r.DeleteAddress(l.Index, a.Prefix); err != nil &&
			!errors.Is(err, unix.EADDRNOTAVAIL) {
			return rtnl.Explain(err, "remove the address %s from %s", a.Prefix, l.Name)
		}
		t.log.Info("removed an address that is not configured", "address", a.Prefix)
	}
	return nil
}

// await returns when something has happened that may concern the tunnel, and after d at the latest.
func (t *Tunnel) await(ctx context.Context, notices, policies <-chan rtnl.Notice, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case n := <-notices:
			if t.concerns(n) {
				return
			}
		case n := <-policies:
			if xfrm.GuardTouched(n) || t.mayFront(n) {
				return
			}
		}
	}
}
