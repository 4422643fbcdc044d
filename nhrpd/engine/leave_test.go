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

// A goodbye is repeated until the reply comes, and the SAs stay until then. A router that does not
// reply is awaited for three seconds.
func TestGoodbyeIsRepeated(t *testing.T) {
	tests := []struct {
		rule   string
		losses int // how many purge requests to the hub are lost
		bound  int // how many clients the hub still has at the end
		after  time.Duration
	}{
		{"the first arrives", 0, 0, 2 * underlayDelay},
		{"the first is lost", 1, 0, purge.GoodbyeRetryInterval + 2*underlayDelay},
		{"two are lost", 2, 0, 2*purge.GoodbyeRetryInterval + 2*underlayDelay},
		{"the hub is not there", 99, 1, purge.Tries * purge.GoodbyeRetryInterval},
	}
	for _, protected := range []bool{true, false} {
		for _, tt := range tests {
			t.Run(tt.rule, func(t *testing.T) {
				w := newWorld(t)
				change := func(c overlay.InterfaceConfig) overlay.InterfaceConfig {
					c.Protected = protected
					return c
				}
				hub := w.add(
					"hub", change(testConfig("10.255.0.1/24")), "192.0.2.1", "172.16.0.1/24",
				)
				spoke := w.add(
					"spoke1", change(spokeConfig("10.255.0.11/24")), "192.0.2.11", "172.16.1.1/24",
				)
				w.until("registered", 10*time.Second, spoke.registered)
				lost := 0
				w.lose = func(from, _ *node, data []byte) bool {
					if from != spoke || packet.Type(data[17]) != packet.PurgeRequest ||
						lost == tt.losses {
						return false
					}
					lost++
					return true
				}
				spoke.handle(event.Leave{Interface: "gre1"})
				if len(spoke.neighbors) != 0 {
					t.Errorf("neighbours left: %v", spoke.neighbors)
				}
				w.run(tt.after - time.Nanosecond)
				if spoke.left != 0 || len(spoke.closed) != 0 {
					t.Error("gone before the goodbye was heard")
				}
				w.run(time.Nanosecond)
				if spoke.left != 1 || len(spoke.want) != 0 || protected && len(spoke.closed) != 1 {
					t.Errorf(
						"not gone: %d, wants %v, closed %v", spoke.left, spoke.want, spoke.closed,
					)
				}
				if got := len(hub.status().Bindings); !protected && got != tt.bound {
					t.Errorf("the hub has %d clients, want %d", got, tt.bound)
				}
				if _, ok := spoke.engine.Deadline(); ok {
					t.Error("a timer is left")
				}
			})
		}
	}
}

// A router that is leaving handles only the replies that it waits for. If it joins again meanwhile,
// it does not take back what it then registers.
func TestLeavingEndsWithReplyOrReturn(t *testing.T) {
	n, hub := spokeAlone(t)
	before := len(n.sent)
	n.handle(event.Leave{Interface: "gre1"})
	goodbye := only(t, n.sentSince(before))
	if got := hub.says(requestFrom("192.0.2.1", "10.255.0.1", host1)); len(got) != 0 {
		t.Errorf("answered %v", typesOf(got))
	}
	reply := clone(goodbye)
	reply.Type = packet.PurgeReply
	reply.RequestID++
	hub.says(reply)
	if n.left != 0 {
		t.Error("another reply ended the wait")
	}
	n.configure(func(*overlay.InterfaceConfig) {})
	if n.left != 1 {
		t.Error("who joins again has not left before")
	}
	hub = n.from(hub.nbma, "hub")
	before = len(n.sent)
	n.w.run(time.Minute)
	if got := typesOf(n.sentSince(before)); slices.Contains(got, "purge request") {
		t.Errorf("after it joined again it sent %v", got)
	}

	n.handle(event.Leave{Interface: "gre1"})
	sent := n.sentSince(before)
	if last := sent[len(sent)-1]; last.Type == packet.PurgeRequest {
		last.Type = packet.PurgeReply
		hub.says(last)
	}
	if n.left != 2 {
		t.Errorf("left %d times", n.left)
	}
}
