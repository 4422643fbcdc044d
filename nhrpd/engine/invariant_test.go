package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/purge"

	"pgregory.net/rapid"
)

// After any events in any order, these hold: there is no panic, nothing is wanted twice or
// withdrawn without being wanted, no route is without an SA, the tables keep to their limits, each
// change of what Save returns is reported, and in the end everything can be withdrawn.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStorm(rt, t)
		for range 60 {
			stormEvents[rapid.SampledFrom(stormEventNames).Draw(rt, "event")](s)
			s.check()
			s.w.run(pick(rt, stormPauses))
			s.check()
			if t.Failed() {
				rt.FailNow()
			}
		}
		s.w.run(20 * time.Minute)
		s.check()
		s.engine.Configure(
			s.w.now,
			overlay.Config{Interfaces: []overlay.InterfaceConfig{s.config()}},
			&s.out,
		)
		s.carryOut()
		s.handle(event.Leave{Interface: "gre1"})
		s.w.run(
			2 * purge.Tries * purge.GoodbyeRetryInterval,
		) // purges of answers, then goodbyes to NHSs
		ifc := s.engine.ifaces["gre1"]
		if len(s.neighbors)+len(s.shortcuts)+len(s.want)+len(s.admits)+
			len(ifc.peers.ByID)+len(ifc.Requester.Requests.ByID)+ifc.neighbors.Len() != 0 {
			rt.Fatalf("left behind: %+v", s.status())
		}
		if _, ok := s.engine.Deadline(); ok {
			rt.Fatal("a timer is left after leaving")
		}
	})
}

// The same state, random source and events give the same output.
func TestDeterminism(t *testing.T) {
	play := func() string {
		m := newMesh(t)
		for i := range 20 {
			m.addSpoke(
				fmt.Sprint("spoke", 3+i), spokeConfig(fmt.Sprintf("10.255.0.%d/24", 20+i)),
				fmt.Sprintf("192.0.2.%d", 20+i), fmt.Sprintf("172.16.%d.1/24", 20+i), false,
			)
			m.hub.addRoutes(viaTunnel(
				fmt.Sprintf("172.16.%d.0/24", 20+i), fmt.Sprintf("10.255.0.%d", 20+i),
			))
		}
		m.run(time.Second)
		for i := range 20 {
			m.ping(m.spoke1, host1, fmt.Sprintf("172.16.%d.9", 20+i))
		}
		m.ping(m.spoke2, host2, host1)
		m.run(time.Hour)
		m.spoke1.handle(event.Leave{Interface: "gre1"})
		var log string
		for _, n := range m.nodes {
			for _, p := range n.sent {
				log += fmt.Sprintln(p.at, n.name, p.to, p.data)
			}
			log += fmt.Sprintln(n.notices, n.closed)
		}
		return log
	}
	if first, second := play(), play(); first != second {
		t.Error("two runs differ")
	}
}

// A clock that goes back or leaps does no harm.
func TestStrangeClock(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	e, out := m.spoke1.engine, &output.Output{}
	for _, leap := range []time.Duration{
		-time.Hour, 24 * time.Hour, -24 * time.Hour, 100 * 365 * 24 * time.Hour,
	} {
		now := m.now.Add(leap)
		e.Advance(now, out)
		e.Handle(
			now,
			event.PeerFailed{Interface: "gre1", ID: peerAt("192.0.2.1"), Reason: "leap"},
			out,
		)
		for range 100 {
			at, ok := e.Deadline()
			if !ok {
				break
			}
			e.Advance(at, out)
			out.Reset()
		}
	}
	if st := e.Status(); len(st) != 1 {
		t.Errorf("%+v", st)
	}
}

// Request ids count on from the one that New was given. The seed decides only the jitter.
func TestFirstRequestID(t *testing.T) {
	e := New(rand.New(rand.NewPCG(1, 2)), 41)
	if got := e.router.NewRequestID(); got != 42 {
		t.Errorf("first id %d", got)
	}
}
