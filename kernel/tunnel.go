package kernel

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

// TunnelAlias marks the links that this package created, and may therefore recreate and remove (`ip
// link` shows it).
const TunnelAlias = "cygnet"

// TunnelConfig describes an mGRE tunnel.
type TunnelConfig struct {
	Name     string
	Address  netip.Prefix // overlay address and the overlay's prefix length
	Local    netip.Addr   // NBMA address to send from, IPv4; zero: an address of Underlay
	Underlay string       // device whose first global IPv4 address is used, and followed when it changes, where Local is zero
	Key      *uint32      // nil: without a key
	TTL      uint8        // of the outer packets; 0: the inner packet's
	MTU      int          // 0: as the kernel has it
	// ResolveMisses has the kernel ask for missing neighbours by netlink (WatchMisses) and hold
	// packets for 5 s meanwhile.
	ResolveMisses bool
	// Protected guards the local address (xfrm.EnsureGuard) from before the tunnel is up until
	// after it is gone. Without it, a guard that an earlier configuration left is removed, unless
	// another GRE tunnel uses the address.
	Protected bool
	// Front, with Protected, also sets the front guard (xfrm.EnsureFront): the policies of this
	// tunnel's SAs have a number below xfrm.GuardFront.
	Front bool
}

// TunnelState says how the tunnel is.
type TunnelState struct {
	Index   int        // of the link; another one after it was recreated
	Local   netip.Addr // NBMA address; zero: the underlay has none now
	Created bool       // made by us, in this run or an earlier one
	Adopted bool       // was there when Run started
	Up      bool
	Fault   string // why the tunnel is not as configured; empty: it is
}

// Tunnel owns one mGRE interface. Run and Remove must not run at the same time.
type Tunnel struct {
	cfg   TunnelConfig
	log   *slog.Logger
	state TunnelState
	ready bool            // ensured at least once
	known bool            // looked for the link at least once
	bound string          // name of the device that the tunnel was last seen bound to; empty: not seen
	front bool            // the front guard was there when last looked at
	said  map[string]bool // what was logged once and would come again with every look
}

// NewTunnel returns a tunnel that is not looked for before Run.
func NewTunnel(cfg TunnelConfig, log *slog.Logger) *Tunnel {
	return &Tunnel{cfg: cfg, log: log.With("interface", cfg.Name), said: make(map[string]bool)}
}

// Run creates or adopts the tunnel and keeps it as configured until ctx ends, which leaves
// everything in place. It puts right what others change: a link deleted or set down, addresses,
// guard, parameters; it follows the underlay's address. It calls changed, on its own goroutine,
// after the first try and at every change of the tunnel's state, also where the tunnel cannot be
// had for now: Fault has the reason then. What can be retried is retried. Before the tunnel was
// there for the first time, Run returns what only the user can mend: rtnl.ErrNameTaken,
// rtnl.ErrTunnelTaken, rtnl.ErrNoPermission, rtnl.ErrNoGRE, rtnl.ErrNoXFRM, rtnl.ErrIPv6Underlay.
func (t *Tunnel) Run(ctx context.Context, changed func(TunnelState)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the monitors, also when Run returns an error
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

// ensure makes the tunnel be as configured. The guard comes first, the link goes up last.
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
	t.state.Created = now.Alias == TunnelAlias
	t.ready = true
	if have != nil && have.GRE.Local != params.Local {
		err = t.releaseGuard(r, have.GRE.Local)
	}
	if !t.cfg.Protected { // it was before, perhaps in an earlier run
		err = errors.Join(err, t.releaseGuard(r, params.Local))
	}
	return err
}

// note compares the link with what was known of it, for the log and the state.
func (t *Tunnel) note(have *rtnl.Link) {
	switch {
	case !t.known:
		t.known = true
		t.state.Adopted = have != nil
		if have != nil {
			t.log.Info("adopting the tunnel that is there", "ours", have.Alias == TunnelAlias, "local", have.GRE.Local)
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

// adoptable says whether the link, if there is one, can be made the tunnel.
func adoptable(name string, l *rtnl.Link) error {
	what := ""
	switch {
	case name == "gre0" || name == "ip6gre0":
		what = "the kernel's own fallback device"
	case l == nil, l.Alias == TunnelAlias && l.IsGRE(), l.IsNBMA():
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

// params returns the wanted parameters. The link's local address is kept while the underlay still
// has it.
func (t *Tunnel) params(r *rtnl.Conn, have *rtnl.Link) (rtnl.GREParams, error) {
	p := rtnl.GREParams{Local: t.cfg.Local, TTL: t.cfg.TTL, Keyed: t.cfg.Key != nil}
	if p.Keyed {
		p.Key = *t.cfg.Key
	}
	if p.Local.Is6() {
		return p, fmt.Errorf("make %s send from %s: %w", t.cfg.Name, p.Local, rtnl.ErrIPv6Underlay)
	}
	// Whether a tunnel of the site's own fragments is the site's decision, like its TOS: only those
	// of this package are changed.
	p.Fragment = have == nil || have.Alias == TunnelAlias || have.GRE.Fragment
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

// place returns the link with the wanted parameters: as it is, changed in place, or made anew.
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
	case have != nil && have.Alias != TunnelAlias:
		return nil, fmt.Errorf("interface %s carries GRE over IPv6, and is not ours to recreate: %w", name, rtnl.ErrNameTaken)
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

func (t *Tunnel) create(r *rtnl.Conn, p rtnl.GREParams) error {
	if err := r.CreateGRE(t.cfg.Name, p); err != nil {
		return t.explainGRE(r, err, p, "create the tunnel %s", t.cfg.Name)
	}
	made, err := r.LinkByName(t.cfg.Name)
	if err != nil || made == nil {
		return errors.Join(err, fmt.Errorf("the new tunnel %s is gone already", t.cfg.Name))
	}
	if err := r.SetAlias(made.Index, TunnelAlias); err != nil {
		return rtnl.Explain(err, "mark the tunnel %s as ours", t.cfg.Name)
	}
	t.log.Info("tunnel created", "local", p.Local, "keyed", p.Keyed)
	return nil
}

// explainGRE finds the reason of a refused creation or change: the kernel says EEXIST when another
// tunnel has the same parameters.
func (t *Tunnel) explainGRE(r *rtnl.Conn, err error, p rtnl.GREParams, format string, args ...any) error {
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

// configure sets everything but the tunnel's parameters, and sets the link up.
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

// sysctls says what it changed, and once what it could not: the tunnel works without.
func (t *Tunnel) sysctls() {
	set, err := sysctl.Ensure(tunnelSysctls(t.cfg))
	for _, s := range set {
		t.log.Info("sysctl set: "+s.Why, "sysctl", s.Path, "value", s.Value)
	}
	if err != nil && !t.said[err.Error()] {
		t.said[err.Error()] = true
		t.log.Warn("a setting of the tunnel is not as it should be", "error", err)
	}
}

// address gives the link its overlay address. On a link of ours it takes away others of the same
// family: they are the configuration's of yesterday.
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
	if l.Alias != TunnelAlias {
		return nil
	}
	for _, a := range all {
		if a.Prefix == want || a.Scope != unix.RT_SCOPE_UNIVERSE || a.Prefix.Addr().Is4() != want.Addr().Is4() {
			continue
		}
		if err := r.DeleteAddress(l.Index, a.Prefix); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return rtnl.Explain(err, "remove the address %s from %s", a.Prefix, l.Name)
		}
		t.log.Info("removed an address that is not configured", "address", a.Prefix)
	}
	return nil
}

// await returns when something happened that may concern the tunnel, or after d.
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
