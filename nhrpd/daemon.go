// Package nhrpd is the daemon: it runs the tasks around the engine, turns what happens outside into the engine's events and
// what the engine decides into packets, kernel entries and SAs.
package nhrpd

import (
	"context"
	crand "crypto/rand"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cygnet/kernel/sysctl"
	"cygnet/kernel/watch"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/preflight"
)

// Daemon is cygnetd without its main.
type Daemon struct {
	path     string // of the configuration file, for reloads
	platform Platform
	logs     *loggers
	log      *slog.Logger
	started  time.Time
	charon   string // its VICI socket
	expected int    // clients at the start

	loop       *loop
	tables     Tables
	strongswan Strongswan
	state      stateFile
	blocked    blockedFile
	blocking   sync.Mutex // one change of who is blocked at a time

	certificates *certificateWatch
	problems     *problems
	mismatches   *mismatches
	fence        Fence
	clear        *clearGRE

	protected   chan struct{} // closed when the first interface needs strongSwan
	protectOnce sync.Once

	reload chan reloadRequest
	config *config.Config   // owned by the manager
	ports  map[string]*port // owned by the manager
}

// New makes a daemon for the configuration that was read from path. It logs to w.
func New(path string, c *config.Config, platform Platform, w io.Writer) *Daemon {
	logs := newLoggers(w, c.Log)
	now := time.Now()
	var seed [32]byte // request ids are drawn from it: nobody must be able to go on with the sequence
	_, _ = crand.Read(seed[:])
	e := engine.New(rand.New(rand.NewChaCha8(seed)), firstRequestID(now))
	settings := engineConfig(c)
	expected := settings.ExpectedClients()
	tables := platform.NewTables(logs.of(logKernel), expected)
	strongswan := platform.NewStrongswan(logs.of(logVICI))
	d := &Daemon{
		path:         path,
		platform:     platform,
		logs:         logs,
		log:          logs.of(logConfig),
		started:      now,
		charon:       c.Daemon.VICISocket,
		expected:     expected,
		loop:         newLoop(logs.of(logEngine), logs.held, e, tables, strongswan),
		tables:       tables,
		strongswan:   strongswan,
		state:        stateFile{dir: c.Daemon.StateDir, uptime: platform.Uptime},
		blocked:      blockedFile{dir: c.Daemon.StateDir},
		certificates: newCertificateWatch(),
		problems:     newProblems(),
		fence:        platform.NewFence(logs.of(logKernel)),
		clear:        newClearGRE(),
		protected:    make(chan struct{}),
		reload:       make(chan reloadRequest),
		config:       c,
		ports:        make(map[string]*port),
	}
	d.mismatches = d.newMismatches()
	d.loop.refused = d.mismatches.refused
	return d
}

// firstRequestID makes request ids grow over restarts (RFC 2332 §5.2.3) without remembering any: eight a second are free between
// two starts, and the counter comes around after 17 years.
func firstRequestID(now time.Time) uint32 { return uint32(now.Unix() << 3) }

// settleTime is how long entries that an earlier run left in the kernel stay though nobody wants them yet: peers have
// registered again by then.
const settleTime = 30 * time.Second

// Run works until the context ends, then leaves the tunnels, neighbours, routes and SAs as they are. An error says what made
// work impossible.
func (d *Daemon) Run(ctx context.Context) error {
	listener, err := d.listenAPI()
	if err != nil {
		return err
	}
	defer listener.Close()
	blocked, err := d.blocked.load()
	if err != nil {
		return err
	}
	d.advise()
	d.reportDoubts(d.config)
	d.tellPolicy()

	g, ctx := errgroup.WithContext(ctx)
	d.loop.alive = watchdog()
	task{"event loop", d.loop.run}.start(ctx, g)
	saved, err := d.state.load()
	if err != nil {
		d.log.Warn("starting without the saved state: peers are unknown until they register again", "error", err)
	}
	d.tellForgotten(saved)
	if err := d.begin(ctx, saved, blocked); err != nil {
		return err
	}
	task{"abandoned SAs", func(ctx context.Context) error { return d.abandon(ctx, saved) }}.start(ctx, g)
	task{"kernel tables", d.tables.Run}.start(ctx, g)
	task{"strongSwan", d.runStrongswan}.start(ctx, g)
	task{"API", func(ctx context.Context) error {
		return api.Serve(ctx, listener, d, d.logs.of(logAPI))
	}}.start(ctx, g)
	task{"saved state", d.keepState}.start(ctx, g)
	task{"settling", d.settle}.start(ctx, g)
	task{"ESP states", d.matchStates}.start(ctx, g)
	task{"mismatches", d.watchMismatches}.start(ctx, g)
	task{"fence", d.runFence}.start(ctx, g)
	task{"fenced addresses", d.keepFence}.start(ctx, g)
	task{"clear GRE", d.watchClear}.start(ctx, g)
	task{"interfaces", d.manage}.start(ctx, g)
	task{"certificates", d.watchCertificates}.start(ctx, g)
	task{"surroundings", d.watchSurroundings}.start(ctx, g)
	err = g.Wait()
	d.saveLast()
	d.stepBack()
	return err
}

// runStrongswan works with charon once an interface needs it: without one, charon's absence is nobody's concern.
func (d *Daemon) runStrongswan(ctx context.Context) error {
	select {
	case <-d.protected:
		return d.strongswan.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// begin gives the engine its configuration and what the last run knew.
func (d *Daemon) begin(ctx context.Context, saved engine.Saved, blocked []engine.Block) error {
	return d.loop.call(ctx, func(now time.Time) {
		d.loop.engine.Configure(now, engineConfig(d.config), &d.loop.out)
		d.blockKnown(now, blocked)
		d.loop.engine.Restore(now, saved, &d.loop.out)
	})
}

func (d *Daemon) settle(ctx context.Context) error {
	if pause(ctx, settleTime) {
		d.tables.Settle()
		// The context's end is the only error, and then nothing is left to settle.
		_ = d.loop.call(ctx, func(time.Time) { d.loop.settleAdmission() })
	}
	return nil
}

// manage owns the set of interfaces: it starts them, says when all are ready, and carries out reloads and goodbyes.
func (d *Daemon) manage(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range d.config.Interfaces {
		if err := d.open(ctx, g, c); err != nil {
			return nil
		}
	}
	stopRoutes := d.watchRoutes(ctx, g)
	firsts := make([]chan struct{}, 0, len(d.ports))
	for _, p := range d.ports {
		firsts = append(firsts, p.first)
	}
	task{"readiness", func(ctx context.Context) error { return d.ready(ctx, firsts) }}.start(ctx, g)
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case r := <-d.reload:
				before := tablesOf(d.config)
				r.done <- r.run(ctx, g)
				if !slices.Equal(before, tablesOf(d.config)) {
					stopRoutes()
					stopRoutes = d.watchRoutes(ctx, g)
				}
			}
		}
	})
	return g.Wait()
}

// open starts an interface and makes it known to the loop.
func (d *Daemon) open(ctx context.Context, g *errgroup.Group, c config.Interface) error {
	p := d.newPort(c)
	if err := d.loop.call(ctx, func(time.Time) { d.loop.ports[c.Name] = p }); err != nil {
		return err
	}
	d.ports[c.Name] = p
	d.certificates.lookAgain()
	if c.Protected {
		d.protectOnce.Do(func() { close(d.protected) })
	}
	p.start(ctx, g)
	return nil
}

// close stops an interface and leaves it in the kernel as it is.
func (d *Daemon) close(ctx context.Context, name string) {
	p := d.ports[name]
	delete(d.ports, name)
	// The loop lets go of the line first, or it would use one that is closed already. The context's end
	// is the only error of a call, and then the loop is gone as well.
	_ = d.loop.call(ctx, func(time.Time) { p.line, p.ending = nil, true })
	p.stop()
	d.problems.resolveAll("", name)
	_ = d.loop.call(ctx, func(time.Time) { delete(d.loop.ports, name) })
}

// watchRoutes feeds the engine's mirror of the routing tables in use until the returned function is called.
func (d *Daemon) watchRoutes(ctx context.Context, g *errgroup.Group) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	tables := tablesOf(d.config)
	done := make(chan struct{})
	task{"route watch", func(ctx context.Context) error {
		defer close(done)
		return d.platform.WatchRoutes(ctx, d.logs.of(logKernel), tables, func(b watch.RouteBatch) {
			d.loop.post(ctx, engineRoutes(b))
		})
	}}.start(ctx, g)
	return func() {
		cancel()
		<-done
	}
}

func tablesOf(c *config.Config) []uint32 {
	var tables []uint32
	for i := range c.Interfaces {
		tables = append(tables, c.Interfaces[i].Table)
	}
	slices.Sort(tables)
	return slices.Compact(tables)
}

// readyTime bounds how long a start waits for the first try on every tunnel.
const readyTime = 10 * time.Second

// ready tells systemd that the daemon works: the configuration is good, the API answers, and every tunnel is there or said
// why it cannot be had for now.
func (d *Daemon) ready(ctx context.Context, firsts []chan struct{}) error {
	timeout := time.NewTimer(readyTime)
	defer timeout.Stop()
	for late := false; len(firsts) > 0 && !late; {
		select {
		case <-firsts[0]:
			firsts = firsts[1:]
		case <-timeout.C:
			late = true
		case <-ctx.Done():
			return nil
		}
	}
	if d.expected > 0 {
		takeMemory(d.expected)
	}
	return notifyReady(d.log)
}

// advise says once at start what in the kernel's settings is too small for a hub, and what in charon's keeps the daemon from its promises:
// they are for all of the site's connections, so that no package sets them.
func (d *Daemon) advise() {
	for _, a := range d.platform.Check(sysctl.CheckConfig{Peers: preflight.UsualPeers, Forwards: true}) {
		d.log.Warn("a kernel setting may be too small", "setting", a.Sysctl, "have", a.Have, "want", a.Want, "why", a.Why)
	}
	for _, f := range d.platform.Strongswan(d.config) {
		d.log.Warn(f.String())
	}
}

// tellPolicy says once at start by what an interface decides who may be who.
func (d *Daemon) tellPolicy() {
	for i := range d.config.Interfaces {
		switch c := &d.config.Interfaces[i]; {
		case !c.Protected:
		case c.Policy == nil:
			d.log.Info("no peer rules: an overlay address belongs to the identity that registers it first, until it expires",
				"interface", c.Name)
		default:
			d.log.Info("peer rules: an identity that none of them matches may do nothing", "interface", c.Name, "rules", c.Policy.Len())
		}
	}
}
