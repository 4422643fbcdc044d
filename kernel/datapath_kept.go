package kernel

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
)

// ebpfPath keeps the eBPF programs of a tunnel. Wanted are the programs on the tunnel, the entries
// of their tables and, once somebody asked for marks, the companion device. A comparison (compare)
// reads what the kernel has and puts right what differs; Run has it done after a notification,
// every minute, and with back-off while something fails. As long as the program is not at the
// tunnel's ingress, NFLOG has to tell redirects, and nothing is admitted or refused.
type ebpfPath struct {
	log    *slog.Logger
	cfg    DataPathConfig
	device string
	index  int

	closed context.Context
	close  context.CancelFunc
	loaded chan struct{} // closed when the kernel has taken programs and tables
	wake   chan struct{}

	// keeping is held during a comparison, and by Close. Whoever needs both locks it before mu.
	keeping sync.Mutex

	mu         sync.Mutex // guards what follows
	objects    *bpfObjects
	wanted     entries
	refused    bool // the kernel did not take all entries at the last try
	ingress    bool // our program is at the tunnel's ingress
	egress     bool
	companion  int       // index of the companion device that has our program; 0: none has
	reattached time.Time // when the programs were last put back
	state      PathState
	fallback   *nflogPath // while our program is not at the tunnel's ingress
	runner     *runner    // while Run runs
	past       DataPathStats
	keys       []bpfAddress // memory of Use
	values     []bpfUse
}

// runner is a call of Run.
type runner struct {
	ctx   context.Context
	f     func(Redirect)
	tasks sync.WaitGroup
}

func newEBPFPath(log *slog.Logger, cfg DataPathConfig) *ebpfPath {
	s := &ebpfPath{
		log: log.With("interface", cfg.Device), cfg: cfg, device: cfg.Device, index: cfg.Index,
		loaded: make(chan struct{}), wake: make(chan struct{}, 1),
		wanted: newEntries(cfg.Admitted, cfg.Adopt),
		keys:   make([]bpfAddress, useBatch), values: make([]bpfUse, useBatch),
	}
	s.closed, s.close = context.WithCancel(context.Background())
	return s
}

// attach is the first comparison. Its error is about programs and tables: marks need not be had.
func (s *ebpfPath) attach() error {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	found := s.compare(schedule.CauseStart)
	s.apply(found)
	s.say(PathState{}, found)
	s.removeEarlier()
	if err := found.err(); err != nil {
		return explainEBPF(err, s.device)
	}
	return nil
}

// removeEarlier removes programs of an earlier run whose place ours could not take: nobody would
// tell them any more whom to admit.
func (s *ebpfPath) removeEarlier() {
	var err error
	switch {
	case s.objects == nil:
		err = Detach(s.device)
	case !s.ingress:
		err = removeFilters([]filter{ingressFilter.on(s.device, s.index)})
	}
	if err != nil {
		s.log.Warn("programs of an earlier run are left on the tunnel and may drop data of new peers: "+
			"remove them (tc qdisc del dev DEVICE clsact)", "error", err)
	}
}

// finding is what a comparison found and could not put right.
type finding struct {
	load     error // the kernel does not take the programs
	filters  error // the device does not have them
	entries  error // a table does not have all that is wanted
	marks    error // the companion device is not as it should be
	report   filterReport
	first    bool // the programs were not there before
	restored int  // filters and entries put right
	removed  int  // entries that nobody wanted
}

func (f *finding) err() error { return errors.Join(f.load, f.filters, f.entries) }

// look compares once and tells what came of it.
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
			"put back", filterNames(found.report.placed), "restored", found.restored,
			"removed", found.removed)
	}
	s.say(before, found)
	if now := s.State(); now != before && s.cfg.Changed != nil {
		s.cfg.Changed(now)
	}
	return errors.Join(found.err(), found.marks)
}

// compare brings the kernel in step. Before the programs take over from those of an earlier run,
// their tables are full: no packet is lost in between. Later the programs come first.
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
	if again || cause != causeFilters {
		s.compareEntries(&found)
	}
	s.compareMarks(&found)
	return found
}

// compareFilters has the programs on the device.
func (s *ebpfPath) compareFilters(found *finding) {
	if found.filters = attachable(s.device, s.index); found.filters != nil {
		return
	}
	for _, f := range s.tunnelFilters() {
		report, err := ensureFilters([]filter{f})
		found.report.placed = append(found.report.placed, report.placed...)
		found.report.held = append(found.report.held, report.held...)
		if f.at == atIngress { // where data is admitted; at egress nothing is decided
			found.report.ahead = report.ahead
		}
		if err != nil && (found.filters == nil || err.Error() != found.filters.Error()) {
			found.filters = errors.Join(found.filters, err)
		}
	}
}

// placed notes which programs are on the device, and reports whether a table needs another try.
func (s *ebpfPath) placed(found *finding) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range found.report.placed {
		if f.at == atIngress && s.ingress || f.at == atEgress && s.egress {
			found.restored++
		}
		if !found.first {
			s.reattached = time.Now()
		}
	}
	s.ingress, s.egress = false, false
	for _, f := range found.report.held {
		s.ingress = s.ingress || f.at == atIngress
		s.egress = s.egress || f.at == atEgress
	}
	return s.refused
}

// load has the kernel take programs and tables, and finds out what of before a restart is wanted.
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

// apply notes what a comparison found, for those who ask.
func (s *ebpfPath) apply(found finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = found.entries != nil
	s.past.Restored += uint64(found.restored + found.removed)
	s.state = PathState{Admission: s.cfg.Admission && s.ingress}
	if found.marks != nil {
		s.state.Marks = found.marks.Error()
	}
	faults := found.entries
	if s.ingress {
		s.state.Mode = ModeEBPF
		faults = errors.Join(found.filters, faults)
	} else {
		s.state.Reason = oneLine(explainEBPF(errors.Join(found.load, found.filters), s.device))
	}
	s.state.Fault = oneLine(faults)
	if s.state.Admission {
		s.state.Ahead = aheadText(found.report.ahead)
	}
	s.fallBack()
}

// aheadText tells of filters at the tunnel's ingress whose verdict comes before ours.
func aheadText(filters []string) string {
	if len(filters) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: data that it lets pass is not checked; give it a priority above %d",
		strings.Join(filters, ", "), filterPriority)
}

// say logs what changed for the worse, once, and what is well again.
func (s *ebpfPath) say(before PathState, found finding) {
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
		s.log.Warn("peers behind one NAT address cannot be reached, trying again", "error", now.Marks)
	}
}

func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

func filterNames(filters []filter) []string {
	var names []string
	for i := range filters {
		names = append(names, filters[i].String())
	}
	return names
}

// fallBack opens NFLOG where redirects are wanted and no program of ours tells them, and closes it
// once one does. mu is held.
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

// runFallback has NFLOG's redirects told where Run runs. mu is held.
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

// endFallback keeps what NFLOG counted. mu is held.
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

func (s *ebpfPath) State() PathState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *ebpfPath) Run(ctx context.Context, f func(Redirect)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closed, cancel)()
	var one sync.Mutex // NFLOG and eBPF may both have redirects for a moment
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

// keep compares until ctx ends. It returns an error only where trying again is of no use.
func (s *ebpfPath) keep(ctx context.Context) error {
	notices, err := listenFilters(ctx, s.log)
	if err != nil {
		return err
	}
	concerns := func(n rtnl.Notice) bool {
		s.mu.Lock()
		companion := s.companion
		s.mu.Unlock()
		return filtersTouched(n, s.index, companion)
	}
	keep(ctx, notices, concerns, s.wake, s.look)
	return nil
}

// tellRedirects reads the programs' redirects until ctx ends.
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

// errNotLoaded says that there are no programs and tables now.
var errNotLoaded = errors.New("the tunnel has no eBPF programs")
