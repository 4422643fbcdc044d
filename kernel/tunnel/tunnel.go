// Package tunnel owns an mGRE tunnel: it creates or adopts the device, keeps it as configured while
// others change it, guards its local address, and removes it (Tunnel). It also finds out what
// others set up around a tunnel (FindSurroundings), guards a tunnel before the daemon runs
// (GuardEarly), and finds and releases what an earlier run left in the kernel (FindLeftovers,
// ReleaseGuards).
package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
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
	Name   string
	Local  netip.Addr // NBMA address to send from, IPv4
	Local6 netip.Addr // the same for IPv6

	// Addresses are the overlay addresses with the prefix lengths of the overlay: one, or one of
	// each family.
	Addresses []netip.Prefix

	// LinkLocal is the link-local address of a tunnel with an IPv6 overlay address. It takes the
	// place of the one that the kernel makes of the local address, which behind NAT is private, and
	// may be another router's too. Zero: the kernel's stays.
	LinkLocal netip.Addr

	// Underlay is used if Local and Local6 are zero. The tunnel sends from the addresses of this
	// device (rtnl.UnderlayAddresses), and follows when they change. SendFrom changes it.
	Underlay string

	// VRF is the VRF of the underlay, which the tunnel is bound to, so that the outer routes are
	// those of the VRF. The tunnel is bound to the VRF and not to Underlay: a PPPoE or LTE device
	// may be deleted and made again, and the tunnel would be bound to the old one. Empty: the
	// tunnel stays bound to what it is bound to.
	VRF string

	// Master is the name of the VRF that the tunnel is put into. While it does not exist, the
	// tunnel is down. Without Master, the tunnel stays in the VRF that it is in.
	Master string

	// IPv4Only has the tunnel send from IPv4 addresses of Underlay only. Without IPsec nothing
	// tells that a peer at an IPv6 address is there.
	IPv4Only bool

	Key *uint32 // nil: without a key
	TTL uint8   // of the outer packets; 0: that of the inner packet
	MTU int     // 0: the kernel's choice

	// OuterDF is what the outer packets say about fragments. If it is empty, a tunnel that the site
	// made keeps what it has, and others get rtnl.OuterDFNever.
	OuterDF rtnl.OuterDF

	// ResolveMisses has the kernel report missing neighbours by netlink (watch.Misses), and hold
	// packets for them for 5 s meanwhile.
	ResolveMisses bool

	// Multicast makes the tunnel one that carries multicast. It sets the flag that routing daemons
	// look at, and the broadcast address of the link, without which the kernel refuses packets for
	// IPv6 groups. The programs of kernel/multicast take such packets at the tunnel. On a tunnel
	// that is up already the kernel then forgets all neighbours; tables.Tables puts the wanted ones
	// back. Without Multicast a broadcast address stays, because to remove it would cost the
	// neighbours again.
	Multicast bool

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
	Local   netip.Addr // NBMA address, IPv4; zero: the underlay has none now
	Local6  netip.Addr // the same for IPv6, from which the links send (package peerlink)
	Absent  bool       // this host does not have an address of the configuration now
	Created bool       // this package made the link, in this run or in an earlier one
	Adopted bool       // the link was there when Run started

	// VRF and VRFTable are the index and the routing table of Config.VRF; 0: there is no such VRF,
	// or none is configured.
	VRF      int
	VRFTable uint32

	Up      bool
	OuterDF rtnl.OuterDF // what outer packets say about fragments; empty: there is no tunnel
	Dormant bool         // the operational state of the link, which SetDormant sets

	Master      string // the VRF that the tunnel is in; empty: none
	MasterTable uint32 // the routing table of Config.Master when that was last seen; 0: never

	Fault string // why the tunnel is not as configured; empty: it is as configured
}

// Addresses returns the NBMA addresses that the tunnel sends from: none, one, or one of each IP
// version.
func (s State) Addresses() []netip.Addr {
	return slices.DeleteFunc([]netip.Addr{s.Local, s.Local6},
		func(a netip.Addr) bool { return !a.IsValid() })
}

// Shared returns an address that both tunnels send from; the zero address if there is none.
func (s State) Shared(other State) netip.Addr {
	for _, a := range s.Addresses() {
		if slices.Contains(other.Addresses(), a) {
			return a
		}
	}
	return netip.Addr{}
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
	waits bool   // the VRF did not exist at the last call of ensure, so that the tunnel is down

	// former has IPv6 addresses that the tunnel no longer sends from. They keep their guard as long
	// as links send from them.
	former map[netip.Addr]bool

	logged map[string]bool // texts that were logged, and are not logged again

	underlay atomic.Pointer[string] // Config.Underlay, or what SendFrom was last called with

	dormancy atomic.Int32  // what SetDormant wants
	wake     chan struct{} // holds a value if Run has to compare at once
}

// The values of Tunnel.dormancy.
const (
	dormancyKept int32 = iota // the link keeps its operational state
	dormancyOff
	dormancyOn
)

// New returns a Tunnel. It does nothing before Run.
func New(cfg Config, log *slog.Logger) *Tunnel {
	t := &Tunnel{
		cfg:    cfg,
		log:    log.With("interface", cfg.Name),
		former: make(map[netip.Addr]bool),
		logged: make(map[string]bool),
		wake:   make(chan struct{}, 1),
	}
	t.underlay.Store(&cfg.Underlay)
	return t
}

// SendFrom has Run take the local address from another underlay device. The tunnel changes in
// place, and keeps its neighbours and routes. SendFrom may be called at any time.
func (t *Tunnel) SendFrom(device string) {
	if *t.underlay.Swap(&device) != device {
		t.wakeUp()
	}
}

// wakeUp has Run compare the tunnel with the configuration at once.
func (t *Tunnel) wakeUp() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// SetDormant has Run keep the operational state of the link dormant, or up. Before the first call,
// the link keeps the state that an earlier run set. SetDormant may be called at any time.
func (t *Tunnel) SetDormant(dormant bool) {
	want := dormancyOff
	if dormant {
		want = dormancyOn
	}
	if t.dormancy.Swap(want) != want {
		t.wakeUp()
	}
}

// Run creates or adopts the tunnel, and keeps it as configured until ctx ends. Then it leaves
// everything in place. Run corrects what others change: it restores a link that was deleted or set
// down, addresses, parameters and the guard. It follows the underlay's address.
//
// Run calls changed, on its own goroutine, after the first try and at every change of the tunnel's
// state. If the tunnel is not as configured, Fault has the reason, and Run tries again. Until the
// tunnel has been as configured for the first time, Run returns errors that only the user can
// remedy: rtnl.ErrNameTaken, rtnl.ErrTunnelTaken, rtnl.ErrNoPermission, rtnl.ErrNoGRE
// and rtnl.ErrNoXFRM.
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
	backoff := schedule.Backoff()
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
			backoff.Reset()
			lastError = ""
		} else {
			wait = backoff.NextBackOff()
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
	if err := t.findAbsent(r); err != nil {
		return err
	}
	master, noMaster := t.master(r, have)
	from, err := t.addresses(r, have)
	if err != nil {
		if errors.Is(err, rtnl.ErrNoAddress) {
			t.state.Local, t.state.Local6 = netip.Addr{}, netip.Addr{}
		}
		return err
	}
	params, err := t.params(r, have, from.V4)
	if err != nil {
		return err
	}
	if err := t.guard(params.Local, from.V6); err != nil {
		return err
	}
	if noMaster != nil {
		return noMaster
	}
	if params.Device, err = t.device(r, have, params.Local); err != nil {
		return err
	}
	now, err := t.place(r, have, params)
	if err != nil {
		return err
	}
	if err := t.enslave(r, now, master); err != nil {
		return err
	}
	if err := t.configure(r, now); err != nil {
		return err
	}
	if in, err := vrfOf(r, now); err != nil {
		return err
	} else if in != nil {
		t.state.Master = in.Name
	}
	if err := t.operate(r, now); err != nil {
		return err
	}
	if t.state.Local6.IsValid() {
		t.former[t.state.Local6] = true
	}
	t.state.Index, t.state.Local, t.state.Local6, t.state.Up = now.Index, from.V4, from.V6, true
	t.state.Created, t.state.OuterDF = now.Alias == Alias, now.GRE.OuterDF
	t.ready = true
	if have != nil && have.GRE.Local != params.Local {
		err = t.releaseGuard(r, have.GRE.Local)
	}
	if !t.cfg.Protected { // it may have been protected before, in an earlier run
		err = errors.Join(err, t.releaseGuard(r, params.Local))
	}
	return errors.Join(err, t.releaseFormer(r, from.V6))
}

// guard guards the addresses that the tunnel sends from, if it is protected. six may be the zero
// address.
func (t *Tunnel) guard(local, six netip.Addr) error {
	if !t.cfg.Protected {
		return nil
	}
	if err := xfrm.EnsureGuard(local); err != nil {
		return err
	}
	if six.IsValid() {
		if err := xfrm.EnsureGuard(six); err != nil {
			return err
		}
		if _, err := xfrm.EnsureFront(six, t.cfg.Front); err != nil {
			return err
		}
	}
	return t.ensureFront(local)
}

// operate brings the operational state of the link into the wanted state. A link that was down just
// now gets it later: the kernel reports when it has set such a link up.
func (t *Tunnel) operate(r *rtnl.Conn, l *rtnl.Link) error {
	want := t.dormancy.Load()
	t.state.Dormant = l.Dormant
	if want == dormancyKept || l.Dormant == (want == dormancyOn) {
		return nil
	}
	if err := r.SetDormant(l.Index, want == dormancyOn); err != nil {
		return rtnl.Explain(err, "set the operational state of %s", l.Name)
	}
	t.state.Dormant = want == dormancyOn
	return nil
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
	case !have.Up && !t.waits:
		t.log.Warn("the tunnel was set down: setting it up")
	}
	t.state.Index, t.state.Up, t.state.Dormant, t.state.Master = 0, false, false, ""
	t.state.OuterDF = ""
	if have != nil {
		t.state.Index, t.state.Up = have.Index, have.Up
	}
}

// findAbsent notes and logs whether this host lacks a configured local address.
func (t *Tunnel) findAbsent(r *rtnl.Conn) error {
	var absent []netip.Addr
	for _, local := range []netip.Addr{t.cfg.Local, t.cfg.Local6} {
		if !local.IsValid() {
			continue
		}
		has, err := r.Has(local)
		if err != nil {
			return err
		}
		if !has {
			absent = append(absent, local)
		}
	}
	switch {
	case len(absent) > 0 && !t.state.Absent:
		t.log.Warn("this host does not have the address that the tunnel is to send from: it "+
			"carries nothing until the address is here", "local", absent[0])
	case len(absent) == 0 && t.state.Absent:
		t.log.Info("this host has the address that the tunnel sends from",
			"local", cmp.Or(t.cfg.Local, t.cfg.Local6))
	}
	t.state.Absent = len(absent) > 0
	return nil
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

// Unused is the local address of the link of a tunnel that sends over IPv6 only: the IPv4 dummy
// address of RFC 7600 §4.8. Peers at IPv6 addresses have devices of their own, so the link sends
// and receives nothing itself. The kernel sends nothing from an address that the host does not
// have, and delivers nothing to it.
var Unused = netip.AddrFrom4([4]byte{192, 0, 0, 8})

// addresses returns the addresses that the tunnel sends from. It keeps those that it has as long as
// the underlay has them.
func (t *Tunnel) addresses(r *rtnl.Conn, have *rtnl.Link) (rtnl.Underlay, error) {
	if t.cfg.Local.IsValid() || t.cfg.Local6.IsValid() {
		return rtnl.Underlay{V4: t.cfg.Local, V6: t.cfg.Local6}, nil
	}
	preferred := rtnl.Underlay{V6: t.state.Local6}
	if have != nil {
		preferred.V4 = have.GRE.Local
	}
	found, err := r.UnderlayAddresses(*t.underlay.Load(), preferred)
	if t.cfg.IPv4Only {
		found.V6 = netip.Addr{}
	}
	if err == nil && found == (rtnl.Underlay{}) {
		err = fmt.Errorf("the device %s has IPv6 addresses only, which need IPsec: %w",
			*t.underlay.Load(), rtnl.ErrNoAddress)
	}
	return found, err
}

// params returns the wanted parameters of the link that sends from local, without the device that
// it is bound to. The zero address stands for a tunnel that sends over IPv6 only.
func (t *Tunnel) params(
	r *rtnl.Conn, have *rtnl.Link, local netip.Addr,
) (p rtnl.GREParams, err error) {
	p = rtnl.GREParams{Local: cmp.Or(local, Unused), TTL: t.cfg.TTL, Keyed: t.cfg.Key != nil}
	if p.Keyed {
		p.Key = *t.cfg.Key
	}
	p.OuterDF = t.outerDF(have)
	return p, err
}

// outerDF returns what the outer packets say about fragments. If the site made the tunnel, the site
// decides that, as it decides the TOS, unless the configuration does.
func (t *Tunnel) outerDF(have *rtnl.Link) rtnl.OuterDF {
	site := have != nil && have.Alias != Alias
	switch {
	case t.cfg.OuterDF != "":
		return t.cfg.OuterDF
	case site && have.GRE.OuterDF != "":
		return have.GRE.OuterDF
	}
	return rtnl.OuterDFNever
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

// broadcast is the broadcast address of a tunnel with Config.Multicast. No peer has it, so that a
// packet to it that no program takes reaches nobody.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// configure sets everything except the tunnel's parameters, and then sets the link up.
func (t *Tunnel) configure(r *rtnl.Conn, l *rtnl.Link) error {
	if t.cfg.Multicast && l.Broadcast != broadcast {
		if err := r.SetBroadcast(l.Index, broadcast); err != nil {
			return rtnl.Explain(err, "set the broadcast address of %s", l.Name)
		}
	}
	if t.cfg.Multicast && !l.Multicast {
		if err := r.SetMulticast(l.Index); err != nil {
			return rtnl.Explain(err, "mark %s as one that carries multicast (multicast on)", l.Name)
		}
	}
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

// address gives the link its overlay address and its link-local address. If this package made the
// link, address also removes other addresses of the same family: an earlier configuration left
// them, or the kernel made them.
func (t *Tunnel) address(r *rtnl.Conn, l *rtnl.Link) error {
	all, err := r.Addresses(l.Index)
	if err != nil {
		return err
	}
	want := slices.Clone(t.cfg.Addresses)
	if t.cfg.LinkLocal.IsValid() {
		want = append(want, netip.PrefixFrom(t.cfg.LinkLocal, linkLocalBits))
	}
	for _, p := range want {
		if slices.ContainsFunc(all, func(a rtnl.Address) bool { return a.Prefix == p }) {
			continue
		}
		if err := r.AddAddress(l.Index, p); err != nil {
			return t.explainAddress(err, p)
		}
	}
	if l.Alias != Alias {
		return nil
	}
	for _, a := range all {
		if slices.Contains(want, a.Prefix) || !t.replaces(a) {
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

// explainAddress wraps the error of adding an address to the tunnel. The kernel has errors of its
// own for an IPv6 address where IPv6 is switched off; they would pass for something else.
func (t *Tunnel) explainAddress(err error, p netip.Prefix) error {
	doing := fmt.Sprintf("add the address %s to %s", p, t.cfg.Name)
	switch {
	case !p.Addr().Is6():
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w (%w)", doing, rtnl.ErrIPv6Disabled, err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%s: %w (%w)", doing, rtnl.ErrNoIPv6, err)
	}
	return rtnl.Explain(err, "%s", doing)
}

// linkLocalBits is the prefix length of link-local addresses.
const linkLocalBits = 64

// replaces reports whether an address of the link is of the kind of a configured one.
func (t *Tunnel) replaces(a rtnl.Address) bool {
	if a.Prefix.Addr().IsLinkLocalUnicast() && a.Prefix.Addr().Is6() {
		return t.cfg.LinkLocal.IsValid()
	}
	return a.Scope == unix.RT_SCOPE_UNIVERSE &&
		slices.ContainsFunc(t.cfg.Addresses, func(p netip.Prefix) bool {
			return a.Prefix.Addr().Is4() == p.Addr().Is4()
		})
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
		case <-t.wake:
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
