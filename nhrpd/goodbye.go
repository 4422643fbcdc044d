package nhrpd

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"cygnet/kernel/rtnl"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/platform"
	"cygnet/nhrpd/sagroup"
	"cygnet/nhrpd/translate"
	"cygnet/nhrpd/wait"
)

// goodbyes ends what an interface that leaves has with other routers, in charon and in the kernel.
type goodbyes struct {
	loop       *loop
	tables     platform.Tables
	groups     *sagroup.Groups
	strongswan platform.Strongswan
	log        *slog.Logger
}

// endSAs removes an interface's connections from charon, and waits for the end of its SAs. The
// connections go first: otherwise a spoke that loses its SA could make a new one at once. What the
// interface shares with others stays.
func (g *goodbyes) endSAs(ctx context.Context, name string) {
	group, last := g.groups.Leave(name)
	if !last {
		return
	}
	if err := g.awaitNoSAs(ctx, group); err != nil {
		g.log.Warn("some SAs have not ended; their peers find out by dead peer detection",
			"interface", name, "error", err)
	}
}

// unpin takes back the rules of an interface's underlays. It comes last in a goodbye, since the
// goodbye itself needs them. It returns an error if the context ends.
func (g *goodbyes) unpin(ctx context.Context, name string) error {
	done := make(chan struct{})
	for i := range (translate.UnderlayRules{}) {
		g.tables.Pin(ruleOwner(name, i), rtnl.Rule{})
	}
	for i := range config.MaxReserve + 1 {
		v4, v6 := uplinkOwners(name, i)
		g.tables.Pin(v4, rtnl.Rule{})
		g.tables.Pin(v6, rtnl.Rule{})
	}
	g.tables.After(func() { close(done) })
	return closed(ctx, done)
}

// say has the engine tell the other routers. It returns when each has acknowledged the goodbye or
// could not be reached, and the kernel has no neighbours and routes of the interface any more. It
// returns an error if the context ends first.
func (g *goodbyes) say(ctx context.Context, name string) error {
	left, done := make(chan struct{}), make(chan struct{})
	err := g.loop.call(ctx, func(now time.Time) {
		g.loop.iface(name).left = left
		g.loop.engine.Handle(now, engine.Leave{Interface: name}, &g.loop.out)
	})
	if err != nil {
		return err
	}
	if err := closed(ctx, left); err != nil {
		return err
	}
	// The loop carried out the engine's output before it closed left. So the reconciler has all
	// changes by now, and After waits until the kernel has them.
	g.tables.After(func() { close(done) })
	return closed(ctx, done)
}

// closed waits until a channel is closed. It returns an error if the context ends first.
func closed(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// closeTime is how long a goodbye waits for the peers to acknowledge the end of their SAs.
const closeTime = 5 * time.Second

// awaitNoSAs waits until strongSwan has closed the SAs of a group. It returns an error if SAs are
// left after closeTime or if strongSwan does not answer.
func (g *goodbyes) awaitNoSAs(ctx context.Context, group string) error {
	ctx, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	for {
		left := 0
		for _, sa := range g.strongswan.SAs() {
			if sa.Interface == group {
				left++
			}
		}
		switch {
		case left == 0:
			return nil
		case !g.strongswan.Status().Connected:
			return fmt.Errorf("strongSwan does not answer, and %d SAs are not closed", left)
		}
		if !wait.For(ctx, 20*time.Millisecond) {
			return fmt.Errorf("%d SAs not closed after %s", left, closeTime)
		}
	}
}
