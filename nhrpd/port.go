package nhrpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"cygnet/kernel"
	"cygnet/kernel/rtnl"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/vici"
)

// port is one configured interface at work: it keeps the tunnel, has a line to it whenever it is there, and resolves the names of
// its NHSs.
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

	states   chan kernel.TunnelState
	useAsked chan struct{}
	first    chan struct{} // closed when the tunnel is there, or cannot be had for now

	line   *line              // owned by the loop; nil while there is no tunnel
	ending bool               // owned by the loop; no line is taken any more
	state  kernel.TunnelState // owned by the loop
	fault  string             // owned by the loop; why there is no tunnel

	marksAsked  chan struct{}
	undecided   []vici.Peer // owned by the loop; who shares an address until it is known whether packets can be given marks
	markedPeers markedPeers // owned by the loop
	marksFault  string      // owned by the loop; why peers behind one NAT address cannot be told apart

	cancel context.CancelFunc // ends the port; set by start
	done   chan struct{}      // closed at its end
}

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
		states:     make(chan kernel.TunnelState, 1),
		useAsked:   make(chan struct{}, 1),
		marksAsked: make(chan struct{}, 1),
		first:      make(chan struct{}),
		done:       make(chan struct{}),
	}
}

// start runs the port in the group until stop or the end of the context.
func (p *port) start(ctx context.Context, g *errgroup.Group) {
	ctx, p.cancel = context.WithCancel(ctx)
	g.Go(func() error {
		defer close(p.done)
		return p.run(ctx)
	})
}

// stop ends the port and leaves the tunnel as it is.
func (p *port) stop() {
	p.cancel()
	<-p.done
}

func (p *port) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	task{"tunnel " + p.config.Name, p.keepTunnel}.start(ctx, g)
	task{"line " + p.config.Name, p.keepLine}.start(ctx, g)
	for _, nhs := range p.config.NHS {
		task{"resolve " + nhs.NBMA, func(ctx context.Context) error { return p.resolve(ctx, nhs.NBMA) }}.start(ctx, g)
	}
	return g.Wait()
}

// keepTunnel runs the tunnel. What the user has to mend (a name that something else has, a kernel without GRE) is said in log and
// status and tried again: it must not end the other interfaces.
func (p *port) keepTunnel(ctx context.Context) error {
	var wait backOff
	for {
		err := p.tunnel.Run(ctx, func(st kernel.TunnelState) {
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

// failed notes why there is no tunnel. It runs on the loop.
func (p *port) failed(err error) {
	p.fault = err.Error()
	p.settled()
}

// settled says that the first try to have the tunnel has come to an end. It runs on the loop.
func (p *port) settled() {
	select {
	case <-p.first:
	default:
		close(p.first)
	}
}

// tell hands the newest state to keepLine; one that was not taken yet is out of date and replaced.
func (p *port) tell(ctx context.Context, st kernel.TunnelState) {
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

// keepLine follows the tunnel's state: a new device gets a new line, a new address is told to strongSwan and the engine.
func (p *port) keepLine(ctx context.Context) error {
	var current *line
	defer func() { current.close() }()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	var st kernel.TunnelState
	marks := false // packets can be given some
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

// replaceLine takes the old line from the loop before it closes it, and opens one to the device that is there now.
func (p *port) replaceLine(ctx context.Context, old *line, st kernel.TunnelState) (*line, error) {
	if err := p.loop.call(ctx, func(time.Time) { p.line = nil }); err != nil {
		return nil, err
	}
	old.close()
	if st.Index == 0 {
		return nil, nil
	}
	return p.openLine(ctx, st)
}

// moved tells strongSwan, the engine and the kernel's reconciler where the tunnel is now, and the status what is wrong with it.
func (p *port) moved(ctx context.Context, st kernel.TunnelState, current *line, fault error, marks bool) error {
	p.secure(st, marks)
	p.tables.Resync()
	defer p.clear.ask()
	return p.loop.call(ctx, func(now time.Time) {
		if p.ending {
			return
		}
		if p.state.Local != st.Local {
			p.loop.saveSoon() // the guard at the next boot is for this address
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
		p.loop.engine.Handle(now, engine.LocalAddress{Interface: p.config.Name, NBMA: st.Local}, &p.loop.out)
		p.settled()
	})
}

// sharing says which other protected tunnel sends from the same address: what the configuration has as a device and as an address may
// be one, and it cannot know. The loop is held.
func (p *port) sharing(local netip.Addr) error {
	for _, other := range p.loop.ports {
		if other == p || !p.config.Protected || !other.config.Protected || !local.IsValid() || other.state.Local != local {
			continue
		}
		err := fmt.Errorf("%s sends from %s as well, and an SA is for all GRE between two addresses: give one of the two another address of this router",
			other.config.Name, local)
		p.log.Error("two protected tunnels on one address", "error", err)
		return err
	}
	return nil
}

// secure tells strongSwan where the tunnel is, and whether its packets can be given marks.
func (p *port) secure(st kernel.TunnelState, marks bool) {
	if p.config.Protected && st.Local.IsValid() {
		p.strongswan.SetProfile(ipsecProfile(&p.config, st.Local, marks))
	}
}

// askUse makes the line read the peers' use; asked again before it did, it reads once.
func (p *port) askUse() {
	select {
	case p.useAsked <- struct{}{}:
	default:
	}
}
