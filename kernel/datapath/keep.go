package datapath

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	s.logChanges(State{}, found)
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
	run.tasks.Go(func() { s.followRedirects(ctx, run.f) })
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
	tc.Keep(ctx, notices, concerns, s.wake, s.reconcile)
	return nil
}

// requestComparison has Run compare soon.
func (s *ebpfPath) requestComparison() {
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
