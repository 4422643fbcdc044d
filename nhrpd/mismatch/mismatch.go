// Package mismatch finds out why two routers do not hear each other.
//
// Routers whose settings do not fit learn little of each other: each hears nothing, or refuses what
// it hears. A Watch therefore looks at four things: what the engine finds amiss, the counters of
// the ESP states (evidence), packets that no tunnel takes (strays), and routers that charon could
// not make an SA with. It reports what they mean as problems, at both ends if both can see
// something.
package mismatch

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/problem"
	"cygnet/nhrpd/wait"
	"cygnet/vici"
)

const (
	// Interval is how often a Watch looks for mismatches.
	Interval = 3 * time.Second
	// FailureLasts is how long a stray packet or a failed SA counts. Routers repeat both every
	// minute.
	FailureLasts = 2 * time.Minute

	strayTwice = time.Second // a router is reported for stray packets this far apart
	maxStrays  = 64          // how many sources of stray packets are kept
)

// Platform is what a Watch uses of the kernel; see the functions of these names in xfrm and
// nhrpsocket.
type Platform struct {
	ESPStates func(local netip.Addr) ([]xfrm.ESPState, error)
	Overhear  func(
		ctx context.Context, kind nhrpsocket.Stray, local netip.Addr, f func(from netip.Addr),
	) error
	HasIKE func() bool
}

// Situation is what the loop knows about mismatches at one moment.
type Situation struct {
	Now     time.Time
	Found   []engine.Mismatch // what the engine finds amiss
	Tunnels []Tunnel
}

// Tunnel is an interface whose tunnel is there.
type Tunnel struct {
	Name      string
	Local     netip.Addr
	Key       *uint32
	Protected bool
	Secured   func(nbma netip.Addr) bool // reports whether a source had an SA at that moment
}

// Watch looks for mismatches. Only the goroutine of Run changes the fields before mu.
type Watch struct {
	log      *slog.Logger
	platform Platform
	problems *problem.List
	evidence map[peerKey]*evidence
	reported map[problem.Key]bool              // the problems that the last evaluation reported
	captures map[captureKey]context.CancelFunc // each ends one Overhear

	mu      sync.Mutex         // guards what follows
	silent  map[peerKey]string // why an NHS does not answer, if the counters tell
	strays  map[strayKey]*stray
	refused map[peerKey]refused
}

// peerKey identifies a peer.
type peerKey struct {
	iface string
	nbma  netip.Addr
}

// captureKey identifies a kind of packet that a Watch overhears at a local address.
type captureKey struct {
	kind  nhrpsocket.Stray
	local netip.Addr
}

// strayKey identifies a source of such packets.
type strayKey struct {
	captureKey
	from netip.Addr
}

// stray is when a source sent packets that no tunnel takes, first and last.
type stray struct{ first, last time.Time }

// refused is a router that could not make an SA with this one, and when it failed first and last.
type refused struct {
	vici.Refused
	first, last time.Time
}

// NewWatch returns a Watch that knows of no mismatch. It reports to problems, and logs each problem
// once.
func NewWatch(p Platform, problems *problem.List, log *slog.Logger) *Watch {
	return &Watch{
		log:      log,
		platform: p,
		problems: problems,
		evidence: make(map[peerKey]*evidence),
		reported: make(map[problem.Key]bool),
		captures: make(map[captureKey]context.CancelFunc),
		silent:   make(map[peerKey]string),
		strays:   make(map[strayKey]*stray),
		refused:  make(map[peerKey]refused),
	}
}

// Run looks for mismatches until the context ends. It asks situation what the loop knows, and
// which of the sources have an SA; situation returns an error only if the context ends.
func (w *Watch) Run(
	ctx context.Context,
	situation func(ctx context.Context, sources []netip.Addr) (Situation, error),
) error {
	defer w.overhear(ctx, nil)
	for wait.For(ctx, Interval) {
		s, err := situation(ctx, w.sources())
		if err != nil {
			return nil // the context ended
		}
		w.overhear(ctx, s.Tunnels)
		w.evaluate(s)
	}
	return nil
}

// overhear overhears packets to the tunnels' local addresses that the tunnels cannot take: clear
// GRE at a protected tunnel, and IKE at a tunnel without IPsec. It stops overhearing at other
// addresses.
func (w *Watch) overhear(ctx context.Context, tunnels []Tunnel) {
	wanted := make(map[captureKey]bool)
	for _, t := range tunnels {
		switch {
		case t.Protected:
			wanted[captureKey{nhrpsocket.StrayGRE, t.Local}] = true
		case !w.platform.HasIKE(): // otherwise the IKE may be for a program on this host
			wanted[captureKey{nhrpsocket.StrayIKE, t.Local}] = true
		}
	}
	for key, cancel := range w.captures {
		if !wanted[key] {
			cancel()
			delete(w.captures, key)
		}
	}
	for key := range wanted {
		if w.captures[key] != nil {
			continue
		}
		captureCtx, cancel := context.WithCancel(ctx)
		w.captures[key] = cancel
		go func() {
			err := w.platform.Overhear(captureCtx, key.kind, key.local, func(from netip.Addr) {
				w.noteStray(strayKey{key, from}, time.Now())
			})
			if err != nil {
				w.log.Warn("routers whose IPsec does not fit are not noticed",
					"local", key.local, "error", err)
			}
		}()
	}
}

// noteStray records a packet that no tunnel takes.
func (w *Watch) noteStray(key strayKey, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.strays[key]
	if s == nil {
		if len(w.strays) >= maxStrays {
			return
		}
		s = &stray{first: now}
		w.strays[key] = s
	}
	s.last = now
}

// Refused records a router that could not make an SA with this one. It may be called from any
// goroutine.
func (w *Watch) Refused(ev vici.Refused, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := peerKey{ev.Interface, ev.NBMA}
	r, known := w.refused[key]
	if !known {
		if len(w.refused) >= maxStrays {
			return
		}
		r.first = now
	}
	r.Refused, r.last = ev, now
	w.refused[key] = r
}

// sources returns the addresses that stray packets and failed SAs came from. It forgets those whose
// last one was FailureLasts ago.
func (w *Watch) sources() []netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []netip.Addr
	for key, s := range w.strays {
		if time.Since(s.last) >= FailureLasts {
			delete(w.strays, key)
			continue
		}
		list = append(list, key.from)
	}
	for key, r := range w.refused {
		if time.Since(r.last) >= FailureLasts {
			delete(w.refused, key)
			continue
		}
		list = append(list, key.nbma)
	}
	return list
}

// evaluate reports what does not fit now, and resolves the problems that it reported before and
// that are gone.
func (w *Watch) evaluate(s Situation) {
	found := append(w.explain(&s), w.strayProblems(&s)...)
	found = append(found, w.refusedProblems(&s)...)
	still := make(map[problem.Key]bool, len(found))
	for _, p := range found {
		key := problem.KeyOf(p)
		still[key] = true
		if w.problems.Report(p) && !w.reported[key] && !loggedBefore[p.Code] {
			w.log.Warn(p.Text, "interface", p.Interface, "nbma", p.Subject, "remedy", p.Remedy)
		}
	}
	for key := range w.reported {
		if !still[key] {
			w.problems.Resolve(key)
		}
	}
	w.reported = still
}

// loggedBefore has the problems that evaluate does not log, because the engine or the client of
// charon has logged their cause with more details.
var loggedBefore = map[api.ProblemCode]bool{
	api.ProblemPassword:            true,
	api.ProblemRegistrationRefused: true,
	api.ProblemPeerAuthentication:  true,
}

// explain turns what the engine finds amiss into problems. The counters of the ESP states help to
// find the cause.
func (w *Watch) explain(s *Situation) []api.Problem {
	tunnels := make(map[string]*Tunnel, len(s.Tunnels))
	for i := range s.Tunnels {
		tunnels[s.Tunnels[i].Name] = &s.Tunnels[i]
	}
	states := make(map[netip.Addr][]xfrm.ESPState)
	before := w.evidence
	w.evidence = make(map[peerKey]*evidence)
	silent := make(map[peerKey]string)
	var found []api.Problem
	for i := range s.Found {
		f := &s.Found[i]
		t := tunnels[f.Interface]
		if t == nil {
			continue
		}
		key := peerKey{f.Interface, f.Outer}
		var e *evidence
		if needsCounters[f.Kind] && t.Protected && f.Secured && !f.Peer.Shares() {
			if _, read := states[t.Local]; !read {
				states[t.Local] = w.statesOf(t.Local)
			}
			e = before[key]
			if e == nil {
				e = newEvidence(f, states[t.Local], s.Now)
			}
			e.update(f, states[t.Local], s.Now)
			w.evidence[key] = e
		}
		if f.Kind == engine.MismatchSilent {
			if why := whySilent(t, e); why != "" && f.Reason == "" {
				silent[key] = why
			}
			continue
		}
		if p, ok := problemOf(f, t, e, s.Now); ok {
			found = append(found, p)
		}
	}
	w.mu.Lock()
	w.silent = silent
	w.mu.Unlock()
	return found
}

// statesOf returns the ESP states of a local address, or none if they cannot be read.
func (w *Watch) statesOf(local netip.Addr) []xfrm.ESPState {
	states, err := w.platform.ESPStates(local)
	if err != nil {
		w.log.Debug("cannot read the counters of the ESP states", "local", local, "error", err)
	}
	return states
}

// needsCounters has the kinds of mismatch whose cause follows from the counters of ESP states.
var needsCounters = map[engine.MismatchKind]bool{
	engine.MismatchSilent:  true,
	engine.MismatchUnheard: true,
	engine.MismatchDeaf:    true,
}

// strayProblems returns the problems of routers that have no SA and repeatedly send packets that no
// tunnel takes.
func (w *Watch) strayProblems(s *Situation) []api.Problem {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []api.Problem
	for _, t := range s.Tunnels {
		for key, seen := range w.strays {
			repeated := seen.last.Sub(seen.first) >= strayTwice &&
				s.Now.Sub(seen.last) < FailureLasts
			if key.local != t.Local || !repeated || t.Protected && t.Secured(key.from) ||
				t.Protected != (key.kind == nhrpsocket.StrayGRE) {
				continue
			}
			found = append(found, strayProblem(&t, key.from))
		}
	}
	return found
}

// refusedProblems returns the problems of routers that cannot make an SA with this one. It forgets
// a router that has an SA by now.
func (w *Watch) refusedProblems(s *Situation) []api.Problem {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []api.Problem
	for _, t := range s.Tunnels {
		for key, r := range w.refused {
			if key.iface != t.Name {
				continue
			}
			if t.Secured(key.nbma) {
				delete(w.refused, key)
				continue
			}
			found = append(found, refusedProblem(&t, &r))
		}
	}
	return found
}

// AddReasons adds to the status of each NHS that does not answer the reason, if the counters tell.
func (w *Watch) AddReasons(s *api.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range s.Interfaces {
		for j := range s.Interfaces[i].NHS {
			n := &s.Interfaces[i].NHS[j]
			if why := w.silent[peerKey{s.Interfaces[i].Name, n.NBMA}]; why != "" {
				addReason(n, why)
			}
		}
	}
}

// addReason sets why an NHS does not answer, for the NHS and for each registration that it leaves
// unanswered.
func addReason(n *api.NHS, why string) {
	if n.Attempts > 0 {
		n.Error = why
	}
	for k := range n.Registrations {
		if r := &n.Registrations[k]; r.Attempts > 0 {
			r.Error = why
		}
	}
}
