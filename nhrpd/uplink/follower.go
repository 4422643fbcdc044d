package uplink

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// System is what a Follower needs of the host.
type System struct {
	// Addresses returns the addresses of a device that a tunnel can send from, none if the device
	// has no carrier. After an error the addresses of before stay.
	Addresses func(device string) (Addresses, error)

	// Watch calls f once, and again when addresses or devices may have changed, until the context
	// ends.
	Watch func(ctx context.Context, log *slog.Logger, f func()) error

	// Open returns a Prober that sends from a local address over a device.
	Open func(device string, local netip.Addr) (Prober, error)
}

// Prober sends probes over one device and receives the answers; see ikeprobe.Prober.
type Prober interface {
	Send(to netip.Addr) error
	Receive() (from netip.Addr, err error) // net.ErrClosed after Close
	Close() error
}

// Use is what a Follower chose.
type Use struct {
	Device string // the uplink to send from; empty: none has had an address yet

	// Addresses has the addresses of each uplink, in the order of Config.Devices.
	Addresses []Addresses
}

// Status is the state of a tunnel's uplinks.
type Status struct {
	Uplinks []State   // best first
	Since   time.Time // when the one in use was chosen; zero: none has been
	Reason  string    // why it was chosen
}

// State is the state of one uplink.
type State struct {
	Device   string
	Address  netip.Addr // zero: it has none
	Second   netip.Addr // the IPv6 address of one that has an IPv4 address, too
	InUse    bool
	Answered time.Time // when a hub last answered a probe over it; zero: not since it has Address
	Lost     int       // probes in a row without an answer
	Returns  time.Time // when the tunnel comes back to it; zero: it does not
}

// Follower follows the addresses of a tunnel's uplinks, probes the hubs over them, and tells which
// uplink the tunnel should send from. SetHubs and Status may be called at any time.
type Follower struct {
	cfg    Config
	system System
	log    *slog.Logger
	use    func(Use)

	choice  *Choice
	probers []sockets // of each uplink
	used    Use       // what use was last called with
	answers chan int  // uplinks over which an answer came
	failed  []string  // why each uplink has no socket, as logged; empty: it has one
	news    chan news // holds the newest news of the hubs, if Run has not taken them yet
	hubs    []netip.Addr

	receiving sync.WaitGroup // the goroutines of receive

	mu     sync.Mutex
	status Status
}

// sockets are the Probers over one uplink, for hubs at IPv4 and at IPv6 addresses; nil: the uplink
// has no address of that IP version, or no socket.
type sockets struct{ v4, v6 Prober }

// to returns the Prober for a hub.
func (s sockets) to(hub netip.Addr) Prober {
	if hub.Is4() {
		return s.v4
	}
	return s.v6
}

// serve reports whether there is a Prober for each of an uplink's addresses, and no other.
func (s sockets) serve(addrs Addresses) bool {
	return (s.v4 != nil) == addrs.V4.IsValid() && (s.v6 != nil) == addrs.V6.IsValid()
}

// news are what is known of the hubs by way of the uplink in use.
type news struct {
	usable bool
	hubs   []netip.Addr
}

// New returns a Follower. local are the addresses that the tunnel sends from already, or zero. New
// looks at the addresses and calls use with the first choice. Run calls use when the choice or an
// address has changed. While no uplink has an address, the last choice stays.
func New(
	cfg Config, system System, log *slog.Logger, local Addresses, use func(Use),
) *Follower {
	f := &Follower{
		cfg:     cfg,
		system:  system,
		log:     log,
		use:     use,
		choice:  NewChoice(cfg, local),
		probers: make([]sockets, len(cfg.Devices)),
		failed:  make([]string, len(cfg.Devices)),
		answers: make(chan int, 4*len(cfg.Devices)),
		news:    make(chan news, 1),
	}
	now := time.Now()
	f.readAddresses()
	f.choice.SetHub(now, false)
	f.step(now)
	return f
}

// SetHubs tells the Follower whether a hub is usable over the uplink in use, and the addresses at
// which to probe hubs. It never blocks. Only one goroutine may call it.
func (f *Follower) SetHubs(usable bool, hubs []netip.Addr) {
	select { // news that Run has not taken yet are out of date
	case <-f.news:
	default:
	}
	f.news <- news{usable, hubs}
}

// Status returns the state of the uplinks.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.Uplinks = slices.Clone(s.Uplinks)
	return s
}

// Run follows the uplinks until the context ends.
func (f *Follower) Run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var watching sync.WaitGroup
	watching.Go(func() {
		cancel(f.system.Watch(ctx, f.log, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		}))
	})
	defer watching.Wait()
	defer cancel(nil)
	defer f.closeAll()
	timer := time.NewTimer(0) // the first turn comes at once: the first choice is in use by now
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
				return err
			}
			return nil
		case <-changed:
			f.readAddresses()
		case i := <-f.answers:
			f.choice.Answered(time.Now(), i)
		case n := <-f.news:
			f.hubs = n.hubs
			f.choice.SetHub(time.Now(), n.usable)
		case <-timer.C:
		}
		if next := f.step(time.Now()); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// step lets the choice decide, carries that out, and returns when to step again; zero: when
// something happens.
func (f *Follower) step(now time.Time) time.Time {
	a := f.choice.Step(now)
	f.apply(now, a)
	for _, i := range a.Probe {
		f.send(i)
	}
	return a.Next
}

// apply tells the tunnel which uplink to use, if that or an address has changed.
func (f *Follower) apply(now time.Time, a Action) {
	next := Use{Device: f.used.Device, Addresses: f.choice.Addresses()}
	if a.Use != none {
		next.Device = f.cfg.Devices[a.Use]
	}
	if next.Device != f.used.Device {
		f.logChange(next.Device, a)
	}
	f.mu.Lock()
	if a.Reason != "" {
		f.status.Since, f.status.Reason = now, a.Reason
	}
	f.status.Uplinks = f.choice.States()
	f.mu.Unlock()
	if next.Device != f.used.Device || !slices.Equal(next.Addresses, f.used.Addresses) {
		f.used = next
		f.use(next)
	}
}

// logChange logs the change to another device.
func (f *Follower) logChange(device string, a Action) {
	level := slog.LevelInfo
	if a.Use > 0 {
		level = slog.LevelWarn
	}
	f.log.Log(context.Background(), level, "the tunnel sends from "+device+": "+a.Reason,
		"event", "uplink-changed", "underlay", device, "before", f.used.Device)
}

// readAddresses reads the addresses of the uplinks. New addresses get new sockets.
func (f *Follower) readAddresses() {
	for i, device := range f.cfg.Devices {
		addrs, err := f.system.Addresses(device)
		if err != nil {
			f.log.Warn("cannot read the addresses of an underlay", "underlay", device, "error", err)
			continue
		}
		if addrs == f.choice.Addresses()[i] && f.probers[i].serve(addrs) {
			continue
		}
		f.choice.SetAddresses(i, addrs)
		f.closeProbers(i)
		f.failed[i] = f.openProbers(i, addrs)
	}
}

// openProbers opens a socket for probes from each address. It returns what went wrong, which it
// logs unless that is what went wrong before. Without a socket no hub can be seen to answer over
// the uplink; readAddresses tries again.
func (f *Follower) openProbers(i int, addrs Addresses) (failed string) {
	for _, one := range []struct {
		local  netip.Addr
		prober *Prober
	}{{addrs.V4, &f.probers[i].v4}, {addrs.V6, &f.probers[i].v6}} {
		if !one.local.IsValid() {
			continue
		}
		p, err := f.system.Open(f.cfg.Devices[i], one.local)
		if err != nil {
			if failed = err.Error(); f.failed[i] != failed {
				f.log.Warn("cannot probe the hubs", "underlay", f.cfg.Devices[i], "error", err)
			}
			continue
		}
		*one.prober = p
		f.receiving.Go(func() { f.receive(i, p) })
	}
	return failed
}

// receive hands the answers that a Prober receives to Run, until the Prober is closed. An answer
// for which there is no room is dropped; the next probe gets another.
func (f *Follower) receive(i int, p Prober) {
	for {
		_, err := p.Receive()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			f.log.Warn("cannot receive answers to probes",
				"underlay", f.cfg.Devices[i], "error", err)
			return
		}
		select {
		case f.answers <- i:
		default:
		}
	}
}

// maxProbed is the number of hubs that are probed at a time.
const maxProbed = 8

// send sends a probe to each hub over an uplink. What cannot be sent gets no answer, which is what
// counts.
func (f *Follower) send(i int) {
	for _, hub := range f.hubs[:min(len(f.hubs), maxProbed)] {
		p := f.probers[i].to(hub)
		if p == nil {
			continue
		}
		if err := p.Send(hub); err != nil {
			f.log.Debug("a probe was not sent", "underlay", f.cfg.Devices[i], "error", err)
		}
	}
}

// closeProbers closes the sockets of an uplink.
func (f *Follower) closeProbers(i int) {
	for _, p := range []Prober{f.probers[i].v4, f.probers[i].v6} {
		if p != nil {
			p.Close()
		}
	}
	f.probers[i] = sockets{}
}

// closeAll closes all sockets, and returns when nobody receives any more.
func (f *Follower) closeAll() {
	for i := range f.probers {
		f.closeProbers(i)
	}
	f.receiving.Wait()
}
