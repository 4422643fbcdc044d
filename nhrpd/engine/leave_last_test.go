package engine

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/packet"
)

// A router that leaves takes its answers back first, and waits for the replies. Those may come
// along the hub, which passes them on only to routers that are registered. So the hub is told last.
func TestTheHubIsToldLast(t *testing.T) {
	for _, tt := range []struct {
		rule      string
		protected bool
		losses    int // how many of spoke1's replies are lost
		want      []string
		within    time.Duration
	}{
		{
			"through the SA", true, 0,
			[]string{"spoke2>spoke1", "spoke1>spoke2", "spoke2>hub", "hub>spoke2"},
			5 * time.Millisecond,
		},
		{
			"along the hub", false, 0,
			[]string{
				"spoke2>hub", "hub>spoke1", "spoke1>hub", "hub>spoke2", "spoke2>hub", "hub>spoke2",
			},
			7 * time.Millisecond,
		},
		{
			"no reply", true, purge.Tries,
			[]string{
				"spoke2>spoke1", "spoke1>spoke2", "spoke2>spoke1", "spoke1>spoke2", "spoke2>spoke1",
				"spoke1>spoke2", "spoke2>hub", "hub>spoke2",
			},
			purge.Tries*purge.GoodbyeRetryInterval + 5*time.Millisecond,
		},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := newMesh(t, func(c *overlay.InterfaceConfig) { c.Protected = tt.protected })
			m.makeShortcut()
			m.run(time.Second)
			var way []string
			lost := 0
			m.lose = func(from, to *node, data []byte) bool {
				typ := packet.Type(data[17])
				if typ != packet.PurgeRequest && typ != packet.PurgeReply {
					return false
				}
				way = append(way, from.name+">"+to.name)
				if typ == packet.PurgeReply && from == m.spoke1 && lost < tt.losses {
					lost++
					return true
				}
				return false
			}
			m.spoke2.handle(event.Leave{Interface: "gre1"})
			m.until("left", tt.within, func() bool { return m.spoke2.left == 1 })
			m.run(time.Second)
			if !slices.Equal(way, tt.want) {
				t.Errorf("purges and replies went %v, want %v", way, tt.want)
			}
			if bound := len(m.hub.status().Bindings); bound != 1 {
				t.Errorf("the hub has %d clients, want spoke1 alone", bound)
			}
			if len(m.spoke1.shortcuts) != 0 {
				t.Errorf("spoke1 goes on to use %v", m.spoke1.shortcuts)
			}
		})
	}
}

// An interface that is taken out of the configuration waits for no replies. The hub still gets the
// goodbye, whether the interface was leaving already or not.
func TestAnInterfaceTakenAwayTellsItsHub(t *testing.T) {
	for _, leaving := range []bool{false, true} {
		m := newMesh(t, noIPsec)
		m.makeShortcut()
		m.lose = func(from, _ *node, data []byte) bool {
			return from == m.spoke1 && packet.Type(data[17]) == packet.PurgeReply
		}
		if leaving {
			m.spoke2.handle(event.Leave{Interface: "gre1"})
			m.run(100 * time.Millisecond)
		}
		if len(m.hub.status().Bindings) != 2 {
			t.Fatalf("the hub has %d clients", len(m.hub.status().Bindings))
		}
		m.spoke2.engine.Configure(m.now, overlay.Config{}, &m.spoke2.out)
		m.spoke2.carryOut()
		m.run(100 * time.Millisecond)
		if bound := len(m.hub.status().Bindings); bound != 1 {
			t.Errorf("leaving before %v: the hub has %d clients, want spoke1 alone", leaving, bound)
		}
	}
}
