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

// Two routers whose settings do not fit see little of each other: each hears nothing, or refuses
// what it hears. The daemon looks at what the engine finds amiss, at the counters of the ESP
// states, and at packets that no tunnel takes, and reports what that means as problems, at both
// ends where both can see something.
const (
	mismatchCheck = 3 * time.Second // between looks at what the engine finds amiss
	strayLasts    = 2 * time.Minute // routers repeat what fails at least once a minute
	strayTwice    = time.Second     // between the first stray packet of a router and a later one, before it is reported
	maxStrays     = 64              // sources of stray packets that are remembered
)

// mismatches finds out why routers do not hear each other.
type mismatches struct {
	log      *slog.Logger
	platform *Platform
	problems *problems
	evidence map[evidenceKey]*evidence
	reported map[problemKey]bool
	ears     map[earKey]context.CancelFunc

	mu     sync.Mutex
	nhs    map[evidenceKey]string // why an NHS does not answer, as far as the counters tell
	strays map[strayKey]*stray
	failed map[evidenceKey]failedDial
}

// failedDial is a router that could not make an SA with this one.
type failedDial struct {
	vici.Refused
	first, last time.Time
}

// evidenceKey names a peer.
type evidenceKey struct {
	iface string
	nbma  netip.Addr
}

// earKey names what is overheard.
type earKey struct {
	kind  nhrpsocket.Stray
	local netip.Addr
}

type strayKey struct {
	earKey
	from netip.Addr
}

// stray is a source of packets that no tunnel takes.
type stray struct{ first, last time.Time }

func (d *Daemon) newMismatches() *mismatches {
	return &mismatches{
		log: d.logs.of(logEngine), platform: &d.platform, problems: d.problems,
		evidence: make(map[evidenceKey]*evidence), reported: make(map[problemKey]bool), ears: make(map[earKey]context.CancelFunc),
		nhs: make(map[evidenceKey]string), strays: make(map[strayKey]*stray), failed: make(map[evidenceKey]failedDial),
	}
}

// situation is what the loop knows at one moment.
type situation struct {
	now     time.Time
	found   []engine.Mismatch
	tunnels []tunnelFacts
}

// tunnelFacts are those of one interface that is in use.
type tunnelFacts struct {
	name      string
	local     netip.Addr
	key       *uint32
	protected bool
	secured   func(nbma netip.Addr) bool // as it was then
}

// watchMismatches looks for mismatches until ctx ends.
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

func (d *Daemon) situation(ctx context.Context) (situation, error) {
	sources := d.mismatches.sources()
	found := make(chan situation, 1) // the loop may still look when the context has ended
	err := d.loop.call(ctx, func(now time.Time) { found <- d.loop.situation(now, sources) })
	if err != nil {
		return situation{}, err
	}
	return <-found, nil
}

// situation tells what the engine finds and what the tunnels are, and which of the sources have
// an SA.
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
			name: name, local: p.state.Local, key: p.config.Key, protected: p.config.Protected,
			secured: func(a netip.Addr) bool { return secured[a] },
		})
	}
	return s
}

// listen overhears packets to the local addresses in use that their tunnels cannot take.
func (m *mismatches) listen(ctx context.Context, tunnels []tunnelFacts) {
	wanted := make(map[earKey]bool)
	for _, t := range tunnels {
		switch {
		case t.protected:
			wanted[earKey{nhrpsocket.StrayGRE, t.local}] = true
		case !m.platform.HasIKE(): // another program's IKE is its own affair
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
			err := m.platform.Overhear(earCtx, key.kind, key.local, func(from netip.Addr) { m.stray(strayKey{key, from}, time.Now()) })
			if err != nil {
				m.log.Warn("routers whose IPsec does not fit are not noticed", "local", key.local, "error", err)
			}
		}()
	}
}

// stray takes note of a packet that no tunnel takes.
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

// refused takes note of a router that could not make an SA with this one.
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

// sources lists where stray packets and failed dials came from, and forgets those of long ago.
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

// look reports what does not fit now, and takes back what was reported and is no longer so.
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

// loggedBefore are the kinds of problems that the engine and the client of charon log themselves,
// with what told them.
var loggedBefore = map[api.ProblemCode]bool{
	api.ProblemPassword: true, api.ProblemRegistrationRefused: true, api.ProblemPeerAuthentication: true,
}

// explain turns what the engine finds amiss into problems, with what the counters tell.
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
					m.log.Debug("cannot read the counters of the ESP states", "local", t.local, "error", err)
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

// needsCounters are the kinds of mismatches whose cause the counters of ESP states tell.
var needsCounters = map[engine.MismatchKind]bool{engine.MismatchSilent: true, engine.MismatchUnheard: true, engine.MismatchDeaf: true}

// strayProblems describes routers that send what no tunnel takes, and have no SA.
func (m *mismatches) strayProblems(s *situation) []api.Problem {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []api.Problem
	for _, t := range s.tunnels {
		for key, seen := range m.strays {
			repeated := seen.last.Sub(seen.first) >= strayTwice && s.now.Sub(seen.last) < strayLasts
			if key.local != t.local || !repeated || t.protected && t.secured(key.from) || t.protected != (key.kind == nhrpsocket.StrayGRE) {
				continue
			}
			found = append(found, describeStray(&t, key.from))
		}
	}
	return found
}

// failedDials describes routers that cannot make an SA with this one, until they have one.
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

// addReasons completes the status of next hop servers that do not answer with what the counters
// tell.
func (m *mismatches) addReasons(s *api.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range s.Interfaces {
		for j := range s.Interfaces[i].NHS {
			n := &s.Interfaces[i].NHS[j]
			if why := m.nhs[evidenceKey{s.Interfaces[i].Name, n.NBMA}]; why != "" && n.Attempts > 0 {
				n.Error = why
			}
		}
	}
}
