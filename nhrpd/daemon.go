// Package nhrpd is the daemon. It owns everything between the engine (package engine), which
// decides, and the outside, where things happen:
//
//   - the loop, the one goroutine that calls the engine. It turns packets and what the kernel,
//     charon, systemd and the API report into the engine's events, and it carries out what the
//     engine decides: packets, neighbours, routes, SAs, admissions;
//   - the tasks around the loop: one runner for each configured interface, the reconcilers of the
//     kernel and of charon, the API, and the packages below this one that watch for faults;
//   - the configuration's reloads, the saved state, and the list of blocked identities.
//
// A running daemon reaches Linux and strongSwan only through nhrpd/platform, so tests run it on
// a platform of their own. The package stopped does what is needed while no daemon runs.
//
// NHRP (RFC 2332) is the engine's matter. This package has only NHRP's protocol type in GRE (§5.1)
// and request IDs that grow over restarts (§5.2.3).
package nhrpd

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"cygnet/kernel/watch"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/cleargre"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/espstate"
	"cygnet/nhrpd/eventfeed"
	"cygnet/nhrpd/filewatch"
	"cygnet/nhrpd/hostcheck"
	"cygnet/nhrpd/logging"
	"cygnet/nhrpd/mismatch"
	"cygnet/nhrpd/peername"
	"cygnet/nhrpd/platform"
	"cygnet/nhrpd/pretouch"
	"cygnet/nhrpd/problem"
	"cygnet/nhrpd/sagroup"
	"cygnet/nhrpd/statedir"
	"cygnet/nhrpd/systemd"
	"cygnet/nhrpd/translate"
	"cygnet/nhrpd/wait"
)

// Daemon is all of cygnetd but its main function. New makes one and Run runs it.
type Daemon struct {
	path     string // the configuration file, which a reload reads again
	platform platform.Platform
	logs     *logging.Loggers
	log      *slog.Logger // for what concerns the configuration
	started  time.Time
	vici     string // charon's VICI socket
	expected int    // how many clients the configuration makes likely, as of the start

	loop       *loop
	tables     platform.Tables
	strongswan platform.Strongswan
	groups     *sagroup.Groups
	state      stateKeeper
	blocks     blocks

	took       *durations
	happened   *eventfeed.Feed
	problems   *problem.List
	mismatches *mismatch.Watch
	states     *espstate.Watch
	clear      *cleargre.Watch
	checks     checks
	file       *filewatch.Watch

	protected   chan struct{} // closed when the first protected interface opens
	protectOnce sync.Once

	mtus     underlayMTUs // owned by the goroutine of manage
	goodbyes goodbyes

	reload chan reloadRequest // work for the goroutine of manage
	config *config.Config     // owned by the goroutine of manage
	// config as it was read from the file; what it points to never changes
	loaded  atomic.Pointer[config.Config]
	runners map[string]*runner // of the open interfaces; owned by the goroutine of manage
}

// New returns a daemon for the configuration c, which was read from the file at path. The daemon
// logs to w.
func New(path string, c *config.Config, p platform.Platform, w io.Writer) *Daemon {
	logs := logging.New(w, c.Log)
	now := time.Now()
	// The engine draws request IDs from this seed. It is secret, so that nobody who sees some IDs
	// can compute the next ones.
	var seed [32]byte
	_, _ = crand.Read(seed[:])
	e := engine.New(rand.New(rand.NewChaCha8(seed)), firstRequestID(now))
	settings := translate.EngineConfig(c)
	expected := settings.ExpectedClients()
	took := newDurations()
	tables := p.NewTables(logs.Of(logging.Kernel), expected, took.kernel.Add)
	strongswan := p.NewStrongswan(logs.Of(logging.VICI), platform.StrongswanTimes{
		Compared: took.compared.Add, Secured: took.sa.Add,
	})
	l := newLoop(logs.Of(logging.Engine), e, tables, strongswan)
	l.took = took
	l.together = logs.Together
	logs.OnEvent(l.happened.Record)
	d := &Daemon{
		path:       path,
		platform:   p,
		logs:       logs,
		log:        logs.Of(logging.Config),
		started:    now,
		vici:       c.Daemon.VICISocket,
		expected:   expected,
		loop:       l,
		tables:     tables,
		strongswan: strongswan,
		groups:     l.groups,
		took:       took,
		happened:   l.happened,
		blocks:     blocks{file: statedir.Blocked{Dir: c.Daemon.StateDir}, loop: l},
		problems:   problem.NewList(),
		protected:  make(chan struct{}),
		reload:     make(chan reloadRequest),
		config:     c,
		runners:    make(map[string]*runner),
	}
	d.checks = checks{
		platform: &d.platform, loop: l, log: d.log, vici: d.vici,
		certificates: hostcheck.NewWatch(d.log), surroundings: hostcheck.NewWatch(d.log),
	}
	d.mtus = underlayMTUs{
		read: p.UnderlayMTU, log: d.log, known: make(map[config.Underlay]int),
	}
	d.goodbyes = goodbyes{
		loop: l, tables: tables, groups: d.groups, strongswan: strongswan, log: d.log,
	}
	d.state = stateKeeper{
		file:     statedir.State{Dir: c.Daemon.StateDir, Uptime: p.Uptime},
		loop:     l,
		problems: d.problems,
		log:      d.log,
	}
	d.loaded.Store(asLoaded(c))
	d.newWatches()
	return d
}

// newWatches makes what watches for faults between routers and on this host.
func (d *Daemon) newWatches() {
	d.file = &filewatch.Watch{Path: d.path, Running: d.loaded.Load, Problems: d.problems}
	p, log := d.platform, d.logs.Of(logging.Kernel)
	d.mismatches = mismatch.NewWatch(mismatch.Platform{
		ESPStates: p.ESPStates,
		Overhear:  p.Overhear,
		HasIKE:    p.HasIKE,
	}, d.problems, d.logs.Of(logging.Engine))
	d.loop.refused = d.mismatches.Refused
	d.states = espstate.NewWatch(espstate.Kernel{
		ESPStates:    p.ESPStates,
		DeleteStates: p.DeleteStates,
		ClearIn:      p.ClearIn,
		PolicyUse:    p.PolicyUse,
	}, d.strongswan, engine.ResyncGrace, d.log)
	d.clear = cleargre.NewWatch(cleargre.Platform{
		Fence:         p.NewFence(log),
		ClearCauses:   p.ClearCauses,
		UnsentOf:      p.UnsentOf,
		DeletedStates: p.DeletedStates,
		ESPStates:     p.ESPStates,
		FindLeftovers: p.FindLeftovers,
		EnsureFront:   p.EnsureFront,
	}, d.protectedTunnels, log)
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
	blocked, err := d.blocks.file.Load()
	if err != nil {
		return err
	}
	d.mtus.fit(d.config)
	d.checks.advise(d.config)
	d.reportObstacles(d.config)
	d.findTables(d.config)
	d.logPolicy()

	g, ctx := errgroup.WithContext(ctx)
	d.loop.alive = systemd.Watchdog()
	task{"event loop", d.loop.run}.start(ctx, g)
	saved, err := d.state.file.Load()
	if err != nil {
		d.log.Warn("starting without the saved state: peers are unknown until they register again; what kernel and charon have stays",
			"error", err, "set_aside_as", d.state.file.SetAside())
	}
	d.logForgotten(saved)
	left, err := d.platform.FindLinks()
	if err != nil {
		d.log.Warn("cannot find the devices that an earlier run made for peers at IPv6 addresses",
			"error", err)
	}
	d.loop.names = peername.New(left)
	if err := d.loop.call(ctx, func(time.Time) {
		for _, l := range left {
			d.loop.iface(l.Tunnel).leftLinks[l.Remote] = l.Index
		}
	}); err != nil {
		return err
	}
	if err := d.begin(ctx, saved, blocked); err != nil {
		return err
	}
	task{"abandoned SAs", func(ctx context.Context) error {
		return d.abandon(ctx, saved)
	}}.start(ctx, g)
	task{"kernel tables", d.tables.Run}.start(ctx, g)
	task{"strongSwan", d.runStrongswan}.start(ctx, g)
	c := d.config.Daemon
	task{"API", func(ctx context.Context) error {
		return api.Serve(ctx, listener, d, c.MetricsPeers, d.logs.Of(logging.API))
	}}.start(ctx, g)
	if view := d.listenView(c); view != nil {
		task{"API for those who look", func(ctx context.Context) error {
			return api.ServeView(ctx, view, d, c.MetricsPeers, d.logs.Of(logging.API))
		}}.start(ctx, g)
	}
	task{"metrics", d.metrics(c)}.start(ctx, g)
	task{"saved state", d.state.keep}.start(ctx, g)
	task{"settling", d.settle}.start(ctx, g)
	task{"ESP states", func(ctx context.Context) error {
		return d.states.Run(ctx, d.protectedAddresses)
	}}.start(ctx, g)
	task{"mismatches", func(ctx context.Context) error {
		return d.mismatches.Run(ctx, d.situation)
	}}.start(ctx, g)
	task{"fence", d.clear.RunFence}.start(ctx, g)
	task{"fenced addresses", d.clear.KeepFence}.start(ctx, g)
	task{"clear GRE", func(ctx context.Context) error {
		return d.clear.Run(ctx, d.manySAs)
	}}.start(ctx, g)
	task{"interfaces", d.manage}.start(ctx, g)
	task{"underlay MTU", d.followUnderlays}.start(ctx, g)
	task{"certificates", d.checks.watchCertificates}.start(ctx, g)
	task{"surroundings", d.checks.watchSurroundings}.start(ctx, g)
	task{"configuration file", d.file.Run}.start(ctx, g)
	err = g.Wait()
	d.state.saveLast()
	d.clear.RemoveFronts()
	return err
}

// listenAPI opens the API's socket. If the configured group does not exist, listenAPI reports that
// and lets only root use the API: no traffic depends on who may read the status.
func (d *Daemon) listenAPI() (net.Listener, error) {
	c := d.config.Daemon
	listener, err := d.platform.ListenAPI(c.APISocket, c.APIGroup)
	if !errors.Is(err, api.ErrNoGroup) {
		return listener, err
	}
	d.log.Error("only root can use the API", "error", err)
	d.noGroup("api_group", c.APIGroup, "so only root can use cygnet")
	return d.platform.ListenAPI(c.APISocket, "")
}

// listenView opens the socket for those who may only look. It returns nil if there are none, and
// reports a problem if the socket cannot be opened.
func (d *Daemon) listenView(c config.Daemon) net.Listener {
	if c.APIViewGroup == "" {
		return nil
	}
	l, err := d.platform.ListenAPI(config.ViewSocket(c.APISocket), c.APIViewGroup)
	if err == nil {
		return l
	}
	d.log.Error("nobody can look at the state by api_view_group", "error", err)
	if errors.Is(err, api.ErrNoGroup) {
		d.noGroup("api_view_group", c.APIViewGroup, "so nobody can look by it")
		return nil
	}
	d.problems.Report(api.Problem{
		Code:     api.ProblemAPIGroup,
		Severity: api.SeverityError,
		Subject:  c.APIViewGroup,
		Text:     fmt.Sprintf("api_view_group: nobody can look by it: %v", err),
		Remedy:   "remove what is in the way, then systemctl restart cygnetd",
	})
	return nil
}

// noGroup reports that a group of the configuration does not exist, and what that means.
func (d *Daemon) noGroup(key, group, so string) {
	d.problems.Report(api.Problem{
		Code:     api.ProblemAPIGroup,
		Severity: api.SeverityError,
		Subject:  group,
		Text:     fmt.Sprintf("%s: this host has no group %q, %s", key, group, so),
		Remedy: fmt.Sprintf(
			"groupadd --system %s, or correct the name, then systemctl restart cygnetd", group),
	})
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
	groups := make(map[string]string)
	for _, ifc := range saved.Interfaces {
		groups[ifc.Name] = ifc.SAGroup
	}
	d.groups.Assign(d.config, groups)
	return d.loop.call(ctx, func(now time.Time) {
		d.loop.engine.Configure(now, d.engineConfig(d.config), &d.loop.out)
		d.blocks.restore(now, blocked)
		d.loop.engine.Restore(now, saved, &d.loop.out)
	})
}

// manySAs reports whether there are so many SAs that reading their states takes noticeable time.
func (d *Daemon) manySAs() bool { return d.strongswan.Status().SAs > espstate.ManySAs }

// settle removes, settleTime after the start, what an earlier run left in the kernel and nobody
// wants now.
func (d *Daemon) settle(ctx context.Context) error {
	if wait.For(ctx, settleTime) {
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
		if err := d.open(ctx, g, d.newRunner(c)); err != nil {
			return nil
		}
	}
	stopRoutes := d.watchRoutes(ctx, g)
	firsts := make([]chan struct{}, 0, len(d.runners))
	for _, r := range d.runners {
		firsts = append(firsts, r.first)
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

// open opens an interface: it registers the interface's runner with the loop, and starts it. It
// returns an error if the context ends.
func (d *Daemon) open(ctx context.Context, g *errgroup.Group, r *runner) error {
	c := &r.config
	if err := d.loop.call(ctx, func(time.Time) { d.loop.open(r) }); err != nil {
		return err
	}
	d.runners[c.Name] = r
	d.checks.certificates.CheckAgain()
	if c.Protected {
		d.protectOnce.Do(func() { close(d.protected) })
	}
	r.start(ctx, g)
	return nil
}

// close stops the runner of an interface. The tunnel, its neighbours, routes and SAs stay in the
// kernel.
func (d *Daemon) close(ctx context.Context, name string) {
	r := d.runners[name]
	delete(d.runners, name)
	// The loop has to let go of the channel before stop closes it; otherwise the loop would use a
	// closed channel. A call fails only if the context has ended, and then the loop has ended too.
	_ = d.loop.call(ctx, func(time.Time) { d.loop.closing(name) })
	r.stop()
	d.problems.ResolveAll("", name)
	_ = d.loop.call(ctx, func(time.Time) { d.loop.closed(name) })
}

// watchRoutes starts to feed the engine's mirror with the routing tables that interfaces use. The
// returned function ends that and waits for the end.
func (d *Daemon) watchRoutes(ctx context.Context, g *errgroup.Group) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	tables := tablesOf(d.config)
	done := make(chan struct{})
	task{"route watch", func(ctx context.Context) error {
		defer close(done)
		log := d.logs.Of(logging.Kernel)
		return d.platform.WatchRoutes(ctx, log, tables, func(b watch.RouteBatch) {
			d.loop.post(ctx, translate.EngineRoutes(b))
		})
	}}.start(ctx, g)
	return func() {
		cancel()
		<-done
	}
}

// tablesOf returns the routing tables that the interfaces of c use, in order and each once. It
// leaves out those of VRFs that are not known yet.
func tablesOf(c *config.Config) []uint32 {
	var tables []uint32
	for i := range c.Interfaces {
		if table := c.Interfaces[i].Table; table != 0 {
			tables = append(tables, table)
		}
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
		pretouch.Memory(d.expected)
	}
	systemd.Ready(d.log)
	return nil
}

// logPolicy logs, once at the start, how each protected interface decides which identity may use
// which overlay address: by peer rules, or by who registers first.
func (d *Daemon) logPolicy() {
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
