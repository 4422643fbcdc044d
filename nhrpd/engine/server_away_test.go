package engine

import (
	"fmt"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/server"
	"cygnet/nhrpd/packet"
)

// The hub accepts no prefix that covers the NBMA address of a client that is away. Otherwise the
// answers of the hub's charon would go into the tunnel, and the client could never come back.
func TestPrefixOverTheAddressOfAnAbsentClient(t *testing.T) {
	lost := func(hub *node) {
		hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.12"), Reason: "power failure"})
	}
	for _, c := range []struct {
		rule string
		goes func(hub *node)
		want packet.Code
	}{
		{"its SA is there", func(*node) {}, packet.CodeProhibited},
		{"its SA went a moment ago", lost, packet.CodeProhibited},
		{
			"its SA went", func(hub *node) { lost(hub); hub.w.run(time.Minute) },
			packet.CodeProhibited,
		},
		{
			"its registration would have expired",
			func(hub *node) { lost(hub); hub.w.run(time.Hour) }, packet.CodeProhibited,
		},
		{"it said goodbye", func(hub *node) {
			p := requestFrom("192.0.2.12", "10.255.0.12", "10.255.0.1")
			p.Type, p.CIEs = packet.PurgeRequest, []packet.CIE{
				{PrefixLength: 32, Protocol: addr("10.255.0.12")},
			}
			sender{hub.w.t, hub, "192.0.2.12"}.says(p)
			lost(hub)
		}, packet.CodeProhibited},
		{"and the hub was restarted", func(hub *node) {
			lost(hub)
			hub.w.run(time.Hour)
			hub.boot(hub.engine.Save())
			hub.client("192.0.2.11", "spoke1", "10.255.0.11")
		}, packet.CodeProhibited},
		{"it registered from another address since", func(hub *node) {
			lost(hub)
			hub.w.run(time.Hour)
			hub.client("198.51.100.12", "spoke2", "10.255.0.12")
		}, packet.CodeSuccess},
		{"it has been away for long", func(hub *node) {
			lost(hub)
			hub.w.run(server.AwayTime + time.Minute)
			hub.client("192.0.2.11", "spoke1", "10.255.0.11")
		}, packet.CodeSuccess},
	} {
		t.Run(c.rule, func(t *testing.T) {
			hub := hubAlone(t, func(cfg *overlay.InterfaceConfig) { cfg.Limits.Prefixes = 10 })
			hub.cfg.Accept = append(hub.cfg.Accept, mustPrefix("192.0.2.0/24"))
			hub.engine.Configure(
				hub.w.now, overlay.Config{Interfaces: []overlay.InterfaceConfig{hub.cfg}}, &hub.out,
			)
			hub.client("192.0.2.12", "spoke2", "10.255.0.12")
			c.goes(hub)
			spoke1 := hub.client("192.0.2.11", "spoke1", "10.255.0.11")
			reply := only(
				t, spoke1.says(announcementFrom("192.0.2.11", "10.255.0.11", "192.0.2.12/30")),
			)
			if got := reply.CIEs[0].Code; got != c.want {
				t.Errorf("a prefix over its address is answered %s, want %s", got, c.want)
			}
			if err := hub.broken(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A router that is away takes one place in the table, from however many addresses it came.
func TestAbsentClientsAreBounded(t *testing.T) {
	hub := hubAlone(t, wide, func(c *overlay.InterfaceConfig) { c.Limits.Bindings = 20 })
	for i := range 100 {
		for _, identity := range []string{"mallory", fmt.Sprint("spoke", i%40)} {
			nbma := numbered("198.18.0.0", i)
			hub.registersAt(nbma, identity, numbered("10.255.1.0", i%10))
			hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt(nbma), Reason: "gone"})
			hub.w.run(peers.LostGrace)
			if err := hub.broken(); err != nil {
				t.Fatal(err)
			}
		}
	}
	hub.w.run(2 * server.AwayTime)
	away := &hub.engine.ifaces["gre1"].server.Away
	if len(away.ByHolder)+away.ByNBMA.Len() > 0 {
		t.Errorf("kept for ever: %d and %d", len(away.ByHolder), away.ByNBMA.Len())
	}
}
