package nhrpd

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
	"cygnet/vici"
)

// Two routers whose settings do not fit learn little of each other: each hears nothing, or refuses
// what it hears. The daemon therefore looks at three things: what the engine finds amiss, the
// counters of the ESP states, and packets that no tunnel takes. It reports what they mean as
// problems, at both ends if both can see something.
const (
	mismatchCheck = 3 * time.Second // how often the daemon looks
	strayLasts    = 2 * time.Minute // how long a failure counts; routers repeat it every minute
	strayTwice    = time.Second     // a router is reported for stray packets this far apart
	maxStrays     = 64              // how many sources of stray packets are kept
)

// mismatches finds out why routers do not hear each other. Only the goroutine of watchMismatches
// changes the fields before mu.
type mismatches struct {
	log      *slog.Logger
	platform *Platform
	problems *problems
	evidence map[evidenceKey]*evidence
	reported map[problemKey]bool           // the problems that the last look reported
	ears     map[earKey]context.CancelFunc // each ends one Overhear

	mu     sync.Mutex             // guards what follows
	nhs    map[evidenceKey]string // why an NHS does not answer, if the counters tell
	strays map[strayKey]*stray
	failed map[evidenceKey]failedDial
}

// failedDial is a router that could not make an SA with this one, and when it failed first and
// last.
type failedDial struct {
	vici.Refused
	first, last time.Time
}

// evidenceKey identifies a peer.
type evidenceKey struct {
	iface string
	nbma  netip.Addr
}

// earKey identifies a kind of packet that the daemon overhears at a local address.
type earKey struct {
	kind  nhrpsocket.Stray
	local netip.Addr
}

// strayKey identifies a source of such packets.
type strayKey struct {
	earKey
	from netip.Addr
}

// stray is when a source sent packets that no tunnel takes, first and last.
type stray struct{ first, last time.Time }

// newMismatches returns the mismatches of a daemon, none so far.
func (d *Daemon) newMismatches() *mismatches {
	return &mismatches{
		log:      d.logs.of(logEngine),
		platform: &d.platform,
		problems: d.problems,
		evidence: make(map[evidenceKey]*evidence),
		reported: make(map[problemKey]bool),
		ears:     make(map[earKey]context.CancelFunc),
		nhs:      make(map[evidenceKey]string),
		strays:   make(map[strayKey]*stray),
		failed:   make(map[evidenceKey]failedDial),
	}
}

// situation is what the loop knows about mismatches at one moment.
type situation struct {
	now     time.Time
	found   []engine.Mismatch
	tunnels []tunnelFacts
}

// tunnelFacts is what a look has to know of an interface whose tunnel is there.
type tunnelFacts struct {
	name      string
	local     netip.Addr
	key       *uint32
	protected bool
	secured   func(nbma netip.Addr) bool // whether the source had an SA at that moment
}

// watchMismatches looks for mismatches until the context ends.
func (d *Daemon) watchMismatches(ctx context.Context) error {
	defer d.mismatches.listen(ctx, nil)
	for pause(ctx, mismatchCheck) {
		s, err := d.situation(ctx)
		if err != nil {
			return nil // the context ended
		}
		d.mismatches.listen(ctx, s.tunnels)
		d.mismatches.look(s)
	}
	return nil
}

// situation asks the loop for the situation. It returns an error if the context ends.
func (d *Daemon) situation(ctx context.Context) (situation, error) {
	sources := d.mismatches.sources()
	// The channel has room, so that the loop does not wait if the context ended during the call.
	found := make(chan situation, 1)
	err := d.loop.call(ctx, func(now time.Time) { found <- d.loop.situation(now, sources) })
	if err != nil {
		return situation{}, err
	}
	return <-found, nil
}

// situation returns what the engine finds amiss, what the tunnels are, and which of the sources
// have an SA. It runs on the loop.
func (l *loop) situation(now time.Time, sources []netip.Addr) situation {
	s := situation{now: now, found: l.engine.Mismatches(now)}
	for name, p := range l.ports {
		if p.line == nil || !p.state.Local.IsValid() {
			continue
		}
		secured := make(map[netip.Addr]bool, len(sources))
		for _, a := range sources {
			secured[a] = l.engine.Secured(name, a)
		}
		s.tunnels = append(s.tunnels, tunnelFacts{
			name:      name,
			local:     p.state.Local,
			key:       p.config.Key,
			protected: p.config.Protected,
			secured:   func(a netip.Addr) bool { return secured[a] },
		})
	}
	return s
}

// listen overhears packets to the tunnels' local addresses that the tunnels cannot take: clear GRE
// at a protected tunnel, and IKE at a tunnel without IPsec. It no longer overhears at other
// addresses.
func (m *mismatches) listen(ctx context.Context, tunnels []tunnelFacts) {
	wanted := make(map[earKey]bool)
	for _, t := range tunnels {
		switch {
		case t.protected:
			wanted[earKey{nhrpsocket.StrayGRE, t.local}] = true
		case !m.platform.HasIKE(): // otherwise the IKE may be for a program on this host
			wanted[earKey{nhrpsocket.StrayIKE, t.local}] = true
		}
	}
	for key, cancel := range m.ears {
		if !wanted[key] {
			cancel()
			delete(m.ears, key)
		}
	}
	for key := range wanted {
		if m.ears[key] != nil {
			continue
		}
		earCtx, cancel := context.WithCancel(ctx)
		m.ears[key] = cancel
		go func() {
			err := m.platform.Overhear(earCtx, key.kind, key.local, func(from netip.Addr) {
				m.stray(strayKey{key, from}, time.Now())
			})
			if err != nil {
				m.log.Warn("routers whose IPsec does not fit are not noticed",
					"local", key.local, "error", err)
			}
		}()
	}
}

// stray records a packet that no tunnel takes.
func (m *mismatches) stray(key strayKey, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.strays[key]
	if s == nil {
		if len(m.strays) >= maxStrays {
			return
		}
		s = &stray{first: now}
		m.strays[key] = s
	}
	s.last = now
}

// refused records a router that could not make an SA with this one.
func (m *mismatches) refused(ev vici.Refused, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := evidenceKey{ev.Interface, ev.NBMA}
	f, known := m.failed[key]
	if !known {
		if len(m.failed) >= maxStrays {
			return
		}
		f.first = now
	}
	f.Refused, f.last = ev, now
	m.failed[key] = f
}

// sources returns the addresses that stray packets and failed dials came from. It forgets those
// whose last one was strayLasts ago.
func (m *mismatches) sources() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []netip.Addr
	for key, s := range m.strays {
		if time.Since(s.last) >= strayLasts {
			delete(m.strays, key)
			continue
		}
		list = append(list, key.from)
	}
	for key, f := range m.failed {
		if time.Since(f.last) >= strayLasts {
			delete(m.failed, key)
			continue
		}
		list = append(list, key.nbma)
	}
	return list
}

// look reports what does not fit now, and resolves the problems that it reported before and that
// are gone.
func (m *mismatches) look(s situation) {
	found := append(m.explain(&s), m.strayProblems(&s)...)
	found = append(found, m.failedDials(&s)...)
	still := make(map[problemKey]bool, len(found))
	for _, p := range found {
		key := problemKey{p.Code, p.Interface, p.Subject}
		still[key] = true
		if m.problems.report(p) && !m.reported[key] && !loggedBefore[p.Code] {
			m.log.Warn(p.Text, "interface", p.Interface, "nbma", p.Subject, "remedy", p.Remedy)
		}
	}
	for key := range m.reported {
		if !still[key] {
			m.problems.resolve(key.code, key.iface, key.subject)
		}
	}
	m.reported = still
}

// loggedBefore has the problems that look does not log, because the engine or the client of charon
// has logged their cause with more details.
var loggedBefore = map[api.ProblemCode]bool{
	api.ProblemPassword:            true,
	api.ProblemRegistrationRefused: true,
	api.ProblemPeerAuthentication:  true,
}

// explain turns what the engine finds amiss into problems. The counters of the ESP states help to
// find the cause.
func (m *mismatches) explain(s *situation) []api.Problem {
	tunnels := make(map[string]*tunnelFacts, len(s.tunnels))
	for i := range s.tunnels {
		tunnels[s.tunnels[i].name] = &s.tunnels[i]
	}
	states := make(map[netip.Addr][]xfrm.ESPState)
	before := m.evidence
	m.evidence = make(map[evidenceKey]*evidence)
	nhs := make(map[evidenceKey]string)
	var found []api.Problem
	for i := range s.found {
		f := &s.found[i]
		t := tunnels[f.Interface]
		if t == nil {
			continue
		}
		key := evidenceKey{f.Interface, f.NBMA}
		var e *evidence
		if needsCounters[f.Kind] && t.protected && f.Secured && !f.Real.IsValid() {
			if _, read := states[t.local]; !read {
				list, err := m.platform.ESPStates(t.local)
				if err != nil {
					m.log.Debug("cannot read the counters of the ESP states",
						"local", t.local, "error", err)
				}
				states[t.local] = list
			}
			e = before[key]
			if e == nil {
				e = newEvidence(f, states[t.local], s.now)
			}
			e.update(f, states[t.local], s.now)
			m.evidence[key] = e
		}
		if f.Kind == engine.MismatchSilent {
			if why := whySilent(t, e); why != "" && f.Reason == "" {
				nhs[key] = why
			}
			continue
		}
		if p, ok := describe(f, t, e, s.now); ok {
			found = append(found, p)
		}
	}
	m.mu.Lock()
	m.nhs = nhs
	m.mu.Unlock()
	return found
}

// needsCounters has the kinds of mismatch whose cause follows from the counters of ESP states.
var needsCounters = map[engine.MismatchKind]bool{
	engine.MismatchSilent:  true,
	engine.MismatchUnheard: true,
	engine.MismatchDeaf:    true,
}

// strayProblems returns the problems of routers that have no SA and repeatedly send packets that no
// tunnel takes.
func (m *mismatches) strayProblems(s *situation) []api.Problem {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []api.Problem
	for _, t := range s.tunnels {
		for key, seen := range m.strays {
			repeated := seen.last.Sub(seen.first) >= strayTwice && s.now.Sub(seen.last) < strayLasts
			if key.local != t.local || !repeated || t.protected && t.secured(key.from) ||
				t.protected != (key.kind == nhrpsocket.StrayGRE) {
				continue
			}
			found = append(found, describeStray(&t, key.from))
		}
	}
	return found
}

// failedDials returns the problems of routers that cannot make an SA with this one. It forgets a
// router that has an SA by now.
func (m *mismatches) failedDials(s *situation) []api.Problem {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []api.Problem
	for _, t := range s.tunnels {
		for key, f := range m.failed {
			if key.iface != t.name {
				continue
			}
			if t.secured(key.nbma) {
				delete(m.failed, key)
				continue
			}
			found = append(found, describeFailedDial(&t, &f))
		}
	}
	return found
}

// addReasons tells, in the status of each NHS that does not answer, why, if the counters tell.
func (m *mismatches) addReasons(s *api.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range s.Interfaces {
		for j := range s.Interfaces[i].NHS {
			n := &s.Interfaces[i].NHS[j]
			if why := m.nhs[evidenceKey{s.Interfaces[i].Name, n.NBMA}]; why != "" &&
				n.Attempts > 0 {
				n.Error = why
			}
		}
	}
}
