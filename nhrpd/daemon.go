// Package nhrpd is the daemon. It owns everything between the engine (package engine), which
// decides, and the outside, where things happen:
//
//   - the loop, the one goroutine that calls the engine. It turns packets and what the kernel,
//     charon, systemd and the API report into the engine's events, and it carries out what the
//     engine decides: packets, neighbours, routes, SAs, admissions;
//   - the tasks around the loop: one port for each configured interface, the reconcilers of the
//     kernel and of charon, the API, and the checks whose findings the status shows as problems;
//   - the configuration's reloads, the saved state, and the list of blocked identities.
//
// A running daemon reaches Linux and strongSwan only through the type Platform, so tests run it on
// a platform of their own. GuardEarly and LeaveStopped do what is needed while no daemon runs.
//
// NHRP (RFC 2332) is the engine's matter. This package has only NHRP's protocol type in GRE (§5.1)
// and request IDs that grow over restarts (§5.2.3).
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

// Daemon is all of cygnetd but its main function. New makes one and Run runs it.
type Daemon struct {
	path     string // the configuration file, which a reload reads again
	platform Platform
	logs     *loggers
	log      *slog.Logger // for what concerns the configuration
	started  time.Time
	charon   string // charon's VICI socket
	expected int    // how many clients the configuration makes likely, as of the start

	loop       *loop
	tables     Tables
	strongswan Strongswan
	state      stateFile
	blocked    blockedFile
	blocking   sync.Mutex // held while one caller changes who is blocked and saves it

	certificates *certificateWatch
	problems     *problems
	mismatches   *mismatches
	fence        Fence
	clear        *clearGRE

	protected   chan struct{} // closed when the first protected interface opens
	protectOnce sync.Once

	reload chan reloadRequest // work for the goroutine of manage
	config *config.Config     // owned by the goroutine of manage
	ports  map[string]*port   // owned by the goroutine of manage
}

// New returns a daemon for the configuration c, which was read from the file at path. The daemon
// logs to w.
func New(path string, c *config.Config, platform Platform, w io.Writer) *Daemon {
	logs := newLoggers(w, c.Log)
	now := time.Now()
	// The engine draws request IDs from this seed. It is secret, so that nobody who sees some IDs
	// can compute the next ones.
	var seed [32]byte
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

// firstRequestID returns the request ID that the engine starts with. Request IDs have to grow over
// restarts (RFC 2332 §5.2.3). The clock makes them grow without a record of the last one: each
// second gives room for eight requests until the next start. The 32-bit counter wraps after 17
// years.
func firstRequestID(now time.Time) uint32 { return uint32(now.Unix() << 3) }

// settleTime is how long after the start entries of an earlier run stay in the kernel although
// nobody wants them. Peers have registered again by then, so an entry that is still unwanted has no
// user any more.
const settleTime = 30 * time.Second

// Run runs the daemon until the context ends. It then leaves the tunnels, neighbours, routes and
// SAs as they are. It returns an error if something makes all work impossible.
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
		d.log.Warn("starting without the saved state: peers are unknown until they register again",
			"error", err)
	}
	d.tellForgotten(saved)
	if err := d.begin(ctx, saved, blocked); err != nil {
		return err
	}
	task{"abandoned SAs", func(ctx context.Context) error {
		return d.abandon(ctx, saved)
	}}.start(ctx, g)
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

// runStrongswan talks to charon from the moment that an interface needs IPsec. Before that the
// daemon does not care whether charon runs.
func (d *Daemon) runStrongswan(ctx context.Context) error {
	select {
	case <-d.protected:
		return d.strongswan.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// begin gives the engine its configuration, the blocked identities and the state of the last run.
// The blocks come before the state, so that nothing of a blocked identity is restored.
func (d *Daemon) begin(ctx context.Context, saved engine.Saved, blocked []engine.Block) error {
	return d.loop.call(ctx, func(now time.Time) {
		d.loop.engine.Configure(now, engineConfig(d.config), &d.loop.out)
		d.blockKnown(now, blocked)
		d.loop.engine.Restore(now, saved, &d.loop.out)
	})
}

// settle removes, settleTime after the start, what an earlier run left in the kernel and nobody
// wants now.
func (d *Daemon) settle(ctx context.Context) error {
	if pause(ctx, settleTime) {
		d.tables.Settle()
		// The call fails only if the context has ended, and then nothing has to be settled.
		_ = d.loop.call(ctx, func(time.Time) { d.loop.settleAdmission() })
	}
	return nil
}

// manage owns the set of interfaces. It opens them, has systemd told once all are ready, and runs
// the reloads and the goodbyes that others request.
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
	task{"readiness", func(ctx context.Context) error {
		return d.ready(ctx, firsts)
	}}.start(ctx, g)
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

// open starts the port of an interface and registers the port with the loop. It returns an error if
// the context ends.
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

// close stops the port of an interface. The tunnel, its neighbours, routes and SAs stay in the
// kernel.
func (d *Daemon) close(ctx context.Context, name string) {
	p := d.ports[name]
	delete(d.ports, name)
	// The loop has to let go of the line before stop closes it; otherwise the loop would use a
	// closed line. A call fails only if the context has ended, and then the loop has ended too.
	_ = d.loop.call(ctx, func(time.Time) { p.line, p.ending = nil, true })
	p.stop()
	d.problems.resolveAll("", name)
	_ = d.loop.call(ctx, func(time.Time) { delete(d.loop.ports, name) })
}

// watchRoutes starts to feed the engine's mirror with the routing tables that interfaces use. The
// returned function ends that and waits for the end.
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

// tablesOf returns the routing tables that the interfaces of c use, in order and each once.
func tablesOf(c *config.Config) []uint32 {
	var tables []uint32
	for i := range c.Interfaces {
		tables = append(tables, c.Interfaces[i].Table)
	}
	slices.Sort(tables)
	return slices.Compact(tables)
}

// readyTime bounds how long a start waits until every tunnel was tried once.
const readyTime = 10 * time.Second

// ready tells systemd that the daemon works. By then the configuration is good, the API answers,
// and each tunnel is there or the log says why it cannot be had for now. A tunnel that takes longer
// than readyTime is not waited for.
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

// advise logs, once at the start, which kernel settings are too small for a hub and which of
// charon's settings keep the daemon from its promises. Cygnet's package changes neither, because
// both apply to all connections of the site.
func (d *Daemon) advise() {
	for _, a := range d.platform.Check(
		sysctl.CheckConfig{Peers: preflight.UsualPeers, Forwards: true},
	) {
		d.log.Warn("a kernel setting may be too small",
			"setting", a.Sysctl, "have", a.Have, "want", a.Want, "why", a.Why)
	}
	for _, f := range d.platform.Strongswan(d.config) {
		d.log.Warn(f.String())
	}
}

// tellPolicy logs, once at the start, how each protected interface decides which identity may use
// which overlay address: by peer rules, or by who registers first.
func (d *Daemon) tellPolicy() {
	for i := range d.config.Interfaces {
		switch c := &d.config.Interfaces[i]; {
		case !c.Protected:
		case c.Policy == nil:
			d.log.Info("no peer rules: an overlay address belongs to the identity that registers it first, until it expires",
				"interface", c.Name)
		default:
			d.log.Info("peer rules: an identity that none of them matches may do nothing",
				"interface", c.Name, "rules", c.Policy.Len())
		}
	}
}
