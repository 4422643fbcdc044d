package nhrpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/vici"
)

// port is one configured interface at work. It keeps the tunnel, has a line to the tunnel's device
// while that device exists, and resolves the names of the NHSs.
//
// Only the loop's goroutine touches the fields marked "loop only".
type port struct {
	config     config.Interface
	log        *slog.Logger
	loop       *loop
	platform   *Platform
	tables     Tables
	strongswan Strongswan
	problems   *problems
	tunnel     Tunnel
	clear      *clearGRE

	states   chan tunnel.State // the newest state, if keepLine has not taken it yet
	useAsked chan struct{}     // holds a value if readUse has to read
	first    chan struct{}     // closed after the first try to have the tunnel

	line   *line        // loop only; nil while there is no tunnel
	ending bool         // loop only; the port takes no line any more
	state  tunnel.State // loop only
	fault  string       // loop only; why there is no tunnel

	marksAsked chan struct{} // holds a value if keepLine has to enable marks
	// undecided has the peers that share an address, until it is known whether the kernel can give
	// their packets marks. Loop only.
	undecided   []vici.Peer
	markedPeers markedPeers // loop only
	marksFault  string      // loop only; why the kernel cannot give packets marks

	cancel context.CancelFunc // ends the port; set by start
	done   chan struct{}      // closed when the port has ended
}

// newPort returns the port of an interface. The caller starts it.
func (d *Daemon) newPort(c config.Interface) *port {
	log := d.logs.of(logKernel)
	return &port{
		config:     c,
		log:        log.With("interface", c.Name),
		loop:       d.loop,
		platform:   &d.platform,
		tables:     d.tables,
		strongswan: d.strongswan,
		problems:   d.problems,
		tunnel:     d.platform.NewTunnel(tunnelConfig(&c), log),
		clear:      d.clear,
		states:     make(chan tunnel.State, 1),
		useAsked:   make(chan struct{}, 1),
		marksAsked: make(chan struct{}, 1),
		first:      make(chan struct{}),
		done:       make(chan struct{}),
	}
}

// start runs the port in the group until stop is called or the context ends.
func (p *port) start(ctx context.Context, g *errgroup.Group) {
	ctx, p.cancel = context.WithCancel(ctx)
	g.Go(func() error {
		defer close(p.done)
		return p.run(ctx)
	})
}

// stop ends the port, waits for the end, and leaves the tunnel as it is.
func (p *port) stop() {
	p.cancel()
	<-p.done
}

// run keeps the tunnel and the line, and resolves the NHSs.
func (p *port) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	task{"tunnel " + p.config.Name, p.keepTunnel}.start(ctx, g)
	task{"line " + p.config.Name, p.keepLine}.start(ctx, g)
	for _, nhs := range p.config.NHS {
		task{"resolve " + nhs.NBMA, func(ctx context.Context) error {
			return p.resolve(ctx, nhs.NBMA)
		}}.start(ctx, g)
	}
	return g.Wait()
}

// keepTunnel runs the tunnel. Some faults only the user can repair: another device has the tunnel's
// name, or the kernel has no GRE. keepTunnel then logs the fault, shows it in the status and tries
// again, so that the other interfaces go on. A missing permission ends the daemon.
func (p *port) keepTunnel(ctx context.Context) error {
	var wait backOff
	for {
		err := p.tunnel.Run(ctx, func(st tunnel.State) {
			wait.reset()
			p.tell(ctx, st)
		})
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, rtnl.ErrNoPermission) {
			return err
		}
		p.log.Error("no tunnel; trying again", "error", err)
		if err := p.loop.call(ctx, func(time.Time) { p.failed(err) }); err != nil {
			return nil
		}
		if err := wait.sleep(ctx); err != nil {
			return nil
		}
	}
}

// failed records why there is no tunnel. It runs on the loop.
func (p *port) failed(err error) {
	p.fault = err.Error()
	p.settled()
}

// settled records that the first try to have the tunnel has ended. It runs on the loop.
func (p *port) settled() {
	select {
	case <-p.first:
	default:
		close(p.first)
	}
}

// tell hands the newest state to keepLine. A state that keepLine has not taken yet is out of date,
// and tell replaces it.
func (p *port) tell(ctx context.Context, st tunnel.State) {
	for {
		select {
		case p.states <- st:
			return
		case <-ctx.Done():
			return
		default:
		}
		select {
		case <-p.states:
		default:
		}
	}
}

// keepLine follows the tunnel's state. It opens a new line when the tunnel has a new device, and
// tells strongSwan and the engine when the tunnel has a new address.
func (p *port) keepLine(ctx context.Context) error {
	var current *line
	defer func() { current.close() }()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	var st tunnel.State
	marks := false // whether the kernel can give packets marks
	for {
		select {
		case <-ctx.Done():
			return nil
		case st = <-p.states:
		case <-retry.C:
		case <-p.marksAsked:
			if marks {
				continue
			}
			marks = p.canMark(ctx, st, current, true)
			p.secure(st, marks)
			continue
		}
		var fault error
		if current == nil || current.index != st.Index {
			if current, fault = p.replaceLine(ctx, current, st); fault != nil {
				p.log.Warn("cannot send or receive NHRP; trying again", "error", fault)
				retry.Reset(time.Second)
			}
		}
		marks = p.canMark(ctx, st, current, marks)
		if err := p.moved(ctx, st, current, fault, marks); err != nil {
			return nil
		}
	}
}

// replaceLine takes the old line from the loop, closes it, and opens a line to the device that is
// there now. It returns no line if there is no device.
func (p *port) replaceLine(ctx context.Context, old *line, st tunnel.State) (*line, error) {
	if err := p.loop.call(ctx, func(time.Time) { p.line = nil }); err != nil {
		return nil, err
	}
	old.close()
	if st.Index == 0 {
		return nil, nil
	}
	return p.openLine(ctx, st)
}

// moved tells strongSwan, the engine and the kernel's reconciler where the tunnel is now. It also
// tells the status what is wrong with the tunnel.
func (p *port) moved(
	ctx context.Context, st tunnel.State, current *line, fault error, marks bool,
) error {
	p.secure(st, marks)
	p.tables.Resync()
	defer p.clear.ask()
	return p.loop.call(ctx, func(now time.Time) {
		if p.ending {
			return
		}
		if p.state.Local != st.Local {
			// At the next boot, GuardEarly takes the address to guard from the saved state.
			p.loop.saveSoon()
		}
		p.line, p.state, p.fault = current, st, ""
		p.catchUp(current)
		if fault == nil {
			fault = p.sharing(st.Local)
		}
		if fault != nil {
			p.fault = fault.Error()
		}
		if st.Fault != "" {
			p.fault = st.Fault
		}
		p.lead(p.loop.names[p.config.Name])
		p.loop.engine.Handle(now,
			engine.LocalAddress{Interface: p.config.Name, NBMA: st.Local}, &p.loop.out)
		p.settled()
	})
}

// sharing returns an error that names another protected tunnel which sends from the same address.
// The check of the configuration cannot find this case: one interface may name a device and the
// other an address, and only the running system shows that the device has that address. It runs on
// the loop.
func (p *port) sharing(local netip.Addr) error {
	for _, other := range p.loop.ports {
		if other == p || !p.config.Protected || !other.config.Protected ||
			!local.IsValid() || other.state.Local != local {
			continue
		}
		err := fmt.Errorf("%s sends from %s as well, and an SA is for all GRE between two addresses: give one of the two another address of this router",
			other.config.Name, local)
		p.log.Error("two protected tunnels on one address", "error", err)
		return err
	}
	return nil
}

// secure tells strongSwan which address the tunnel sends from, and whether the kernel can give the
// tunnel's packets marks.
func (p *port) secure(st tunnel.State, marks bool) {
	if p.config.Protected && st.Local.IsValid() {
		p.strongswan.SetProfile(ipsecProfile(&p.config, st.Local, marks))
	}
}

// askUse has the line read when peers were last used. Several calls before the line reads cause one
// read.
func (p *port) askUse() {
	select {
	case p.useAsked <- struct{}{}:
	default:
	}
}
