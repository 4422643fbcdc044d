package datapath

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/schedule"
	"cygnet/kernel/tc"
)

// ebpfPath is the Path with eBPF. It keeps what is wanted in the kernel: the programs on the
// tunnel, the entries of their tables and, if marks are wanted, the companion device. A comparison
// (compare) reads what the kernel has and corrects the differences. Run compares at the start,
// after a notification, every minute, and with back-off while something fails. While the program is
// not at the tunnel's ingress, redirects have to come from NFLOG, and the kernel takes data from
// every peer.
type ebpfPath struct {
	log    *slog.Logger
	cfg    Config
	device string
	index  int

	closed context.Context // ended by close
	close  context.CancelFunc
	loaded chan struct{} // closed when the kernel has taken the programs and tables
	wake   chan struct{} // receives a value when Run has to compare soon

	// keeping is held during a comparison, and by Close. Lock it before mu.
	keeping sync.Mutex

	mu         sync.Mutex  // guards the fields below
	objects    *bpfObjects // nil: the kernel has not taken the programs
	wanted     entries
	refused    bool      // the kernel did not take all entries at the last try
	ingress    bool      // the daemon's program is at the tunnel's ingress
	egress     bool      // the daemon's program is at the tunnel's egress
	companion  int       // index of the companion device with the daemon's program; 0: none
	reattached time.Time // when a program was last put back on the tunnel
	state      State
	fallback   *nflogPath   // in use while the daemon's program is not at the tunnel's ingress
	runner     *runner      // the running call of Run; nil: none
	past       Stats        // counts that are not in the programs' tables
	keys       []bpfAddress // memory that each call of Use uses again
	values     []bpfUse     // likewise
}

// runner is a call of Run.
type runner struct {
	ctx   context.Context
	f     func(Redirect)
	tasks sync.WaitGroup
}

// newEBPFPath returns a path that has not compared yet.
func newEBPFPath(log *slog.Logger, cfg Config) *ebpfPath {
	s := &ebpfPath{
		log: log.With("interface", cfg.Device), cfg: cfg, device: cfg.Device, index: cfg.Index,
		loaded: make(chan struct{}), wake: make(chan struct{}, 1),
		wanted: newEntries(cfg.Admitted, cfg.Adopt),
		keys:   make([]bpfAddress, useBatch), values: make([]bpfUse, useBatch),
	}
	s.closed, s.close = context.WithCancel(context.Background())
	return s
}

// attach makes the first comparison. It returns an error if the programs or tables are not as
// wanted; marks may fail without an error.
func (s *ebpfPath) attach() error {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	found := s.compare(schedule.CauseStart)
	s.apply(found)
	s.say(State{}, found)
	s.removeEarlier()
	if err := found.err(); err != nil {
		return tc.Explain(err, s.device)
	}
	return nil
}

// removeEarlier removes programs of an earlier run if this run could not replace them, since they
// would never learn of newly admitted peers.
func (s *ebpfPath) removeEarlier() {
	var err error
	switch {
	case s.objects == nil:
		err = Detach(s.device)
	case !s.ingress:
		err = tc.Remove([]tc.Filter{ingressFilter.On(s.device, s.index)})
	}
	if err != nil {
		s.log.Warn("programs of an earlier run are left on the tunnel and may drop data of new peers: "+
			"remove them (tc qdisc del dev DEVICE clsact)", "error", err)
	}
}

// finding is what a comparison corrected, and what it could not correct.
type finding struct {
	load     error     // why the kernel does not take the programs
	filters  error     // why the device does not have the programs
	entries  error     // why a table does not have all wanted entries
	marks    error     // why the companion device is not as wanted
	report   tc.Report // about the programs on the tunnel
	first    bool      // the kernel did not have the programs before this comparison
	restored int       // filters and entries that were put back
	removed  int       // unwanted entries that were removed
}

// err returns what is wrong with the programs and tables.
func (f *finding) err() error { return errors.Join(f.load, f.filters, f.entries) }

// look compares once, and logs and reports the result.
func (s *ebpfPath) look(cause string) error {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	if s.closed.Err() != nil {
		return nil
	}
	before := s.State()
	found := s.compare(cause)
	s.apply(found)
	if found.restored+found.removed > 0 {
		s.log.Warn("brought the eBPF programs and their tables in step", "cause", cause,
			"put back", filterNames(found.report.Placed), "restored", found.restored,
			"removed", found.removed)
	}
	s.say(before, found)
	if now := s.State(); now != before && s.cfg.Changed != nil {
		s.cfg.Changed(now)
	}
	return errors.Join(found.err(), found.marks)
}

// compare compares the kernel with what is wanted, and corrects the differences. The first time it
// fills the tables before it attaches the programs, so that no packet is lost when they replace
// those of an earlier run. Later it looks at the programs first.
func (s *ebpfPath) compare(cause string) (found finding) {
	if s.objects == nil {
		found.first = true
		if found.load = s.load(); found.load != nil {
			return found
		}
	}
	if found.first {
		s.compareEntries(&found)
		s.compareMarks(&found)
	}
	s.compareFilters(&found)
	again := s.placed(&found)
	if found.first {
		return found
	}
	if again || cause != tc.CauseFilters {
		s.compareEntries(&found)
	}
	s.compareMarks(&found)
	return found
}

// compareFilters attaches the programs to the device, unless they are there.
func (s *ebpfPath) compareFilters(found *finding) {
	if found.filters = attachable(s.device, s.index); found.filters != nil {
		return
	}
	for _, f := range s.tunnelFilters() {
		report, err := tc.Ensure([]tc.Filter{f})
		found.report.Placed = append(found.report.Placed, report.Placed...)
		found.report.Held = append(found.report.Held, report.Held...)
		if f.At == tc.Ingress { // the program there admits data; at egress nothing is admitted
			found.report.Ahead = report.Ahead
		}
		if err != nil && (found.filters == nil || err.Error() != found.filters.Error()) {
			found.filters = errors.Join(found.filters, err)
		}
	}
}

// placed notes which programs are on the device. It reports whether a table refused entries at the
// last try, so that the tables have to be compared again.
func (s *ebpfPath) placed(found *finding) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range found.report.Placed {
		if f.At == tc.Ingress && s.ingress || f.At == tc.Egress && s.egress {
			found.restored++
		}
		if !found.first {
			s.reattached = time.Now()
		}
	}
	s.ingress, s.egress = false, false
	for _, f := range found.report.Held {
		s.ingress = s.ingress || f.At == tc.Ingress
		s.egress = s.egress || f.At == tc.Egress
	}
	return s.refused
}

// load loads the programs and tables into the kernel, and finds the entries of an earlier run that
// are still wanted.
func (s *ebpfPath) load() error {
	objects, err := loadPath(s.cfg)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects = &objects
	if err := errors.Join(s.adopt(), s.adoptMarked()); err != nil {
		s.objects = nil
		return errors.Join(err, objects.Close())
	}
	close(s.loaded)
	return nil
}

// apply updates the state by what a comparison found.
func (s *ebpfPath) apply(found finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = found.entries != nil
	s.past.Restored += uint64(found.restored + found.removed)
	s.state = State{Admission: s.cfg.Admission && s.ingress}
	if found.marks != nil {
		s.state.Marks = found.marks.Error()
	}
	faults := found.entries
	if s.ingress {
		s.state.Mode = ModeEBPF
		faults = errors.Join(found.filters, faults)
	} else {
		s.state.Reason = oneLine(tc.Explain(errors.Join(found.load, found.filters), s.device))
	}
	s.state.Fault = oneLine(faults)
	if s.state.Admission {
		s.state.Ahead = aheadText(found.report.Ahead)
	}
	s.fallBack()
}

// aheadText describes other programs' filters that run before the daemon's at the tunnel's ingress.
func aheadText(filters []string) string {
	if len(filters) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: data that it lets pass is not checked; give it a priority above %d",
		strings.Join(filters, ", "), filterPriority)
}

// say logs what became wrong and what is right again since the state before. It logs each problem
// once.
func (s *ebpfPath) say(before State, found finding) {
	now := s.State()
	switch {
	case now.Mode != ModeEBPF && now.Reason != before.Reason:
		s.log.Warn("no eBPF on the tunnel: shortcuts need a firewall rule, "+
			"last-use times are coarser; trying again", "reason", now.Reason)
	case now.Mode == ModeEBPF && before.Reason != "":
		s.log.Info("the eBPF programs are on the tunnel")
	}
	if now.Fault != before.Fault && now.Fault != "" {
		s.log.Warn("the eBPF programs or their tables are not as they should be, trying again",
			"error", now.Fault)
	}
	if now.Ahead != before.Ahead && now.Ahead != "" {
		s.log.Warn("another program may let data pass that is not admitted", "reason", now.Ahead)
	}
	if now.Marks != before.Marks && now.Marks != "" && !found.first {
		s.log.Warn("peers behind one NAT address cannot be reached, trying again",
			"error", now.Marks)
	}
}

// oneLine returns the text of an error without line breaks, or "" for nil.
func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// filterNames returns the names of filters, for the log.
func filterNames(filters []tc.Filter) []string {
	var names []string
	for i := range filters {
		names = append(names, filters[i].String())
	}
	return names
}

// fallBack opens NFLOG if redirects are wanted and no program of the daemon's reports them. It
// closes NFLOG once a program reports them. mu is held.
func (s *ebpfPath) fallBack() {
	needed := !s.ingress && s.cfg.Redirect && s.cfg.Mode == ""
	switch {
	case !needed && s.fallback != nil:
		s.endFallback()
	case needed && s.fallback == nil:
		path, err := attachNFLOG(s.log, s.cfg, s.state.Reason)
		if err != nil {
			s.state.Reason += "; " + oneLine(err)
			return
		}
		s.fallback = path
		s.runFallback()
	}
	if s.fallback != nil {
		s.state.Mode = ModeNFLOG
	}
}

// runFallback starts to read the redirects of NFLOG, if both NFLOG and Run are in use. mu is held.
func (s *ebpfPath) runFallback() {
	path, run := s.fallback, s.runner
	if path == nil || run == nil {
		return
	}
	run.tasks.Go(func() {
		err := path.Run(run.ctx, run.f)
		if err == nil {
			return
		}
		s.log.Warn("NFLOG failed, trying again", "error", err)
		s.mu.Lock()
		if s.fallback == path {
			s.endFallback()
		}
		s.mu.Unlock()
		s.ask()
	})
}

// endFallback closes NFLOG and keeps its counts. mu is held.
func (s *ebpfPath) endFallback() {
	if err := s.fallback.Close(); err != nil {
		s.log.Warn("closing NFLOG failed", "error", err)
	}
	stats, _ := s.fallback.Stats()
	s.past.Sampled += stats.Sampled
	s.past.Lost += stats.Lost
	s.past.Foreign += stats.Foreign
	s.fallback = nil
}

// ask has Run compare soon.
func (s *ebpfPath) ask() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// State implements Path.
func (s *ebpfPath) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Run implements Path.
func (s *ebpfPath) Run(ctx context.Context, f func(Redirect)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closed, cancel)()
	var one sync.Mutex // for a moment both NFLOG and eBPF may report redirects
	run := &runner{ctx: ctx, f: func(r Redirect) {
		one.Lock()
		defer one.Unlock()
		f(r)
	}}
	s.mu.Lock()
	s.runner = run
	s.runFallback()
	s.mu.Unlock()
	run.tasks.Go(func() { s.tellRedirects(ctx, run.f) })
	err := s.keep(ctx)
	cancel()
	s.mu.Lock()
	s.runner = nil
	s.mu.Unlock()
	run.tasks.Wait()
	if err != nil {
		return fmt.Errorf("keep the programs of %s: %w", s.device, err)
	}
	return nil
}

// keep compares again and again until ctx ends. It returns an error only if trying again is
// useless.
func (s *ebpfPath) keep(ctx context.Context) error {
	notices, err := tc.Listen(ctx, s.log)
	if err != nil {
		return err
	}
	concerns := func(n rtnl.Notice) bool {
		s.mu.Lock()
		companion := s.companion
		s.mu.Unlock()
		return tc.Touched(n, s.index, companion)
	}
	tc.Keep(ctx, notices, concerns, s.wake, s.look)
	return nil
}

// tellRedirects calls f with the redirects that the programs report, until ctx ends. It waits until
// the programs are loaded.
func (s *ebpfPath) tellRedirects(ctx context.Context, f func(Redirect)) {
	retry := schedule.NewBackoff(schedule.RetryFirst, schedule.RetryLimit)
	select {
	case <-s.loaded:
	case <-ctx.Done():
		return
	}
	for ctx.Err() == nil {
		err := s.readRedirects(ctx, f)
		if err == nil {
			return
		}
		s.log.Warn("reading redirects failed, trying again", "error", err)
		if !retry.Sleep(ctx) {
			return
		}
	}
}

// Close implements Path. It waits for a comparison that is under way.
func (s *ebpfPath) Close() error {
	s.close()
	s.keeping.Lock()
	defer s.keeping.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fallback != nil {
		s.endFallback()
	}
	if s.objects == nil {
		return nil
	}
	objects := s.objects
	s.objects = nil
	return objects.Close()
}

// errNotLoaded means that the kernel has not taken the programs and tables.
var errNotLoaded = errors.New("the tunnel has no eBPF programs")
