package nhrpd

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/authorizer"
	"cygnet/nhrpd/cleargre"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/logging"
	"cygnet/nhrpd/platform"
	"cygnet/nhrpd/problem"
	"cygnet/nhrpd/resolve"
	"cygnet/nhrpd/translate"
	"cygnet/nhrpd/uplink"
	"cygnet/nhrpd/wait"
)

// runner has the tasks of one open interface. It keeps the tunnel, has a channel to the tunnel's
// device while that device exists, and resolves the names of the NHSs. What the loop has to know of
// the interface is in iface.
type runner struct {
	config     config.Interface
	log        *slog.Logger
	loop       *loop
	iface      *iface // set by the loop's open; for functions that run on the loop
	platform   *platform.Platform
	tables     platform.Tables
	strongswan platform.Strongswan
	problems   *problem.List
	tunnel     platform.Tunnel
	clear      *cleargre.Watch
	authorizer *authorizer.Client

	uplinks atomic.Pointer[uplink.Follower] // nil: there is one underlay only

	// startedAnew reports that a reload starts the interface anew, and that it has not registered
	// since. Only the loop's goroutine uses it once the runner is open.
	startedAnew bool

	pinned *translate.UnderlayRules // nil: tables has not been told

	// moveTable has the daemon give the interface another routing table; see Daemon.moveTable.
	moveTable func(ctx context.Context, iface string, table uint32) error

	states     chan tunnel.State // the newest state, if keepChannel has not taken it yet
	readUseNow chan struct{}     // holds a value if readUse has to read
	marksAsked chan struct{}     // holds a value if keepChannel has to enable marks

	// resolveAsked has a channel for the name of each NHS. It holds a value if resolve has to look
	// the name up soon.
	resolveAsked map[string]chan struct{}

	first     chan struct{} // closed after the first try to have the tunnel
	firstOnce sync.Once

	cancel context.CancelFunc // ends the runner; set by start
	done   chan struct{}      // closed when the runner has ended
}

// newRunner returns the runner of an interface. The caller starts it.
func (d *Daemon) newRunner(c config.Interface) *runner {
	log := d.logs.Of(logging.Kernel)
	resolveAsked := make(map[string]chan struct{})
	for _, nhs := range c.NHS {
		resolveAsked[nhs.NBMA] = make(chan struct{}, 1)
	}
	r := &runner{
		config:     c,
		log:        log.With("interface", c.Name),
		loop:       d.loop,
		platform:   &d.platform,
		tables:     d.tables,
		strongswan: d.strongswan,
		problems:   d.problems,
		tunnel:     d.platform.NewTunnel(translate.TunnelConfig(&c), log),
		clear:      d.clear,
		authorizer: newAuthorizer(d.loop, d.logs.Of(logging.Engine).With("interface", c.Name),
			c.Name, c.Authorize.Socket),
		moveTable:  d.moveTable,
		states:     make(chan tunnel.State, 1),
		readUseNow: make(chan struct{}, 1),
		marksAsked: make(chan struct{}, 1),
		first:      make(chan struct{}),
		done:       make(chan struct{}),

		resolveAsked: resolveAsked,
	}
	if !c.IfState {
		r.tunnel.SetDormant(false) // an earlier configuration may have made it dormant
	}
	return r
}

// start runs the runner in the group until stop is called or the context ends.
func (r *runner) start(ctx context.Context, g *errgroup.Group) {
	ctx, r.cancel = context.WithCancel(ctx)
	g.Go(func() error {
		defer close(r.done)
		return r.run(ctx)
	})
}

// stop ends the runner, waits for the end, and leaves the tunnel as it is.
func (r *runner) stop() {
	r.cancel()
	<-r.done
}

// run keeps the tunnel and the channel, and resolves the NHSs.
func (r *runner) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if f := r.followUplinks(); f != nil {
		r.uplinks.Store(f)
		task{"uplinks " + r.config.Name, f.Run}.start(ctx, g)
	}
	task{"tunnel " + r.config.Name, r.keepTunnel}.start(ctx, g)
	task{"channel " + r.config.Name, r.keepChannel}.start(ctx, g)
	task{"authorizer " + r.config.Name, r.authorizer.Run}.start(ctx, g)
	for _, nhs := range r.config.NHS {
		task{"resolve " + nhs.NBMA, func(ctx context.Context) error {
			return r.resolve(ctx, nhs.NBMA)
		}}.start(ctx, g)
	}
	return g.Wait()
}

// resolve hands the engine the NBMA addresses of an NHS, and again when they change.
func (r *runner) resolve(ctx context.Context, nhs string) error {
	return resolve.Follow(ctx, r.log, nhs, r.platform.Lookup, r.resolveAsked[nhs],
		func(addrs []netip.Addr) {
			r.loop.post(ctx, engine.NHSResolved{Interface: r.config.Name, Name: nhs, NBMA: addrs})
		})
}

// askResolve has resolve look up the name of an NHS soon. Several calls before it does so cause one
// look-up.
func (r *runner) askResolve(nhs string) {
	select {
	case r.resolveAsked[nhs] <- struct{}{}:
	default:
	}
}

// keepTunnel runs the tunnel. Some faults only the user can repair: another device has the tunnel's
// name, or the kernel has no GRE. keepTunnel then logs the fault, shows it in the status and tries
// again, so that the other interfaces go on. A missing permission ends the daemon.
func (r *runner) keepTunnel(ctx context.Context) error {
	backoff := wait.Backoff()
	for {
		err := r.tunnel.Run(ctx, func(st tunnel.State) {
			backoff.Reset()
			r.hand(ctx, st)
		})
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, rtnl.ErrNoPermission) {
			return err
		}
		r.log.Error("no tunnel; trying again", "error", err)
		if err := r.loop.call(ctx, func(time.Time) { r.iface.failed(err) }); err != nil {
			return nil
		}
		if !wait.For(ctx, backoff.NextBackOff()) {
			return nil
		}
	}
}

// tried records that the first try to have the tunnel has ended.
func (r *runner) tried() { r.firstOnce.Do(func() { close(r.first) }) }

// hand hands the newest state to keepChannel. A state that keepChannel has not taken yet is out of
// date, and hand replaces it.
func (r *runner) hand(ctx context.Context, st tunnel.State) {
	for {
		select {
		case r.states <- st:
			return
		case <-ctx.Done():
			return
		default:
		}
		select {
		case <-r.states:
		default:
		}
	}
}

// keepChannel follows the tunnel's state. It opens a new channel when the tunnel has a new device,
// and tells strongSwan and the engine when the tunnel has a new address.
func (r *runner) keepChannel(ctx context.Context) error {
	var current *channel
	defer func() { current.close() }()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	var st tunnel.State
	marks := false // whether the kernel can give packets marks
	for {
		select {
		case <-ctx.Done():
			return nil
		case st = <-r.states:
			if r.hasOtherTable(st) {
				if err := r.moveTable(ctx, r.config.Name, st.MasterTable); err != nil {
					return nil
				}
			}
		case <-retry.C:
		case <-r.marksAsked:
			if marks {
				continue
			}
			marks = r.canMark(ctx, st, current, true)
			r.secure(st, marks)
			continue
		}
		var fault error
		if current == nil || current.index != st.Index {
			if current, fault = r.replaceChannel(ctx, current, st); fault != nil {
				r.log.Warn("cannot send or receive NHRP; trying again", "error", fault)
				retry.Reset(time.Second)
			}
		}
		if current != nil {
			current.local.Store(&st.Local)
		}
		r.openLinks(ctx, current, st)
		marks = r.canMark(ctx, st, current, marks)
		if err := r.moved(ctx, st, current, fault, marks); err != nil {
			return nil
		}
		r.unguardStale(ctx, st.Local)
	}
}

// replaceChannel takes the old channel from the loop, closes it, and opens a channel to the device
// that is there now. It returns no channel if there is no device.
func (r *runner) replaceChannel(
	ctx context.Context, old *channel, st tunnel.State,
) (*channel, error) {
	if err := r.loop.call(ctx, func(time.Time) { r.iface.channel = nil }); err != nil {
		return nil, err
	}
	old.close()
	if st.Index == 0 {
		return nil, nil
	}
	return r.openChannel(ctx, st)
}

// moved tells strongSwan, the kernel's reconciler, the loop and the fence where the tunnel is now.
// It returns an error if the context ends.
func (r *runner) moved(
	ctx context.Context, st tunnel.State, current *channel, fault error, marks bool,
) error {
	// The rules come first: without them, IKE might take a default route into the tunnel.
	if err := r.pin(ctx, translate.RulesOf(&r.config, st)); err != nil {
		return err
	}
	r.secure(st, marks)
	r.tables.Resync()
	defer r.clear.Changed()
	return r.loop.call(ctx, func(now time.Time) {
		r.loop.moved(now, r.iface, st, current, fault)
	})
}

// pin has the kernel keep the rules of the tunnel's underlay, and returns once they have been
// tried, and so have those of the uplinks (followUplinks). It returns an error if the context ends.
func (r *runner) pin(ctx context.Context, rules translate.UnderlayRules) error {
	if r.pinned != nil && *r.pinned == rules && len(r.config.Reserve) == 0 {
		return nil
	}
	r.pinned = &rules
	tried := make(chan struct{})
	for i, rule := range rules {
		r.tables.Pin(ruleOwner(r.config.Name, i), rule)
	}
	r.tables.After(func() { close(tried) })
	return closed(ctx, tried)
}

// ruleOwner names the owner of one of an interface's translate.UnderlayRules.
func ruleOwner(iface string, i int) string {
	if i == 0 {
		return iface
	}
	return iface + " IPv6"
}

// secure tells strongSwan which address the tunnel sends from, and whether the kernel can give the
// tunnel's packets marks.
func (r *runner) secure(st tunnel.State, marks bool) {
	if locals := st.Addresses(); r.config.Protected && len(locals) > 0 {
		r.loop.groups.Secure(translate.IPsecProfile(&r.config, locals, marks))
	}
}

// askUse has readUse read when peers were last used. Several calls before it reads cause one
// reading.
func (r *runner) askUse() {
	select {
	case r.readUseNow <- struct{}{}:
	default:
	}
}

// askMarks has keepChannel enable marks. Several calls before keepChannel does so cause one try.
func (r *runner) askMarks() {
	select {
	case r.marksAsked <- struct{}{}:
	default:
	}
}
