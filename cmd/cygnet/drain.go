package main

import (
	"context"
	"fmt"
	"time"

	"cygnet/nhrpd/api"
)

// drainInterval is how often drain looks how many clients are left. Tests shorten it.
var drainInterval = time.Second

// drain has a hub ask its clients away, or with --off no longer do so. With --for it waits until
// they are gone, for that long at most.
func drain(in *invocation, iface string) error {
	client, ctx, cancel := in.ask()
	defer cancel()
	if in.length < 0 || in.length > 0 && in.off {
		return usagef("--for takes a time above zero, and not with --off")
	}
	if err := client.Drain(ctx, iface, in.off); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	if in.json && in.length == 0 {
		return in.printJSON(api.DrainRequest{Interface: iface, Off: in.off})
	}
	if in.off {
		in.printf("Clients are taken again.\n")
		return nil
	}
	return in.awaitDrained(client, iface)
}

// awaitDrained waits for as long as --for says until no client is left, and tells how many are.
// While it waits, it tells each time that their number changes.
func (in *invocation) awaitDrained(client *api.Client, iface string) error {
	end := time.NewTimer(in.length)
	defer end.Stop()
	look := time.NewTicker(drainInterval)
	defer look.Stop()
	told := 0
	for {
		left, err := clients(in.ctx, client, iface)
		if err != nil {
			return fmt.Errorf("drain: %w", err)
		}
		if left == 0 || in.length == 0 {
			return in.drained(iface, left)
		}
		if left != told {
			told = left
			in.progress("clients left: %d", left)
		}
		select {
		case <-look.C:
		case <-end.C:
			return in.drained(iface, left)
		case <-in.ctx.Done():
			return context.Cause(in.ctx)
		}
	}
}

// clients returns how many clients are registered on an interface, or on all without a name.
func clients(ctx context.Context, client *api.Client, iface string) (n int, err error) {
	status, err := client.Status(ctx)
	if err != nil {
		return 0, err
	}
	for k := range status.Interfaces {
		if i := &status.Interfaces[k]; iface == "" || i.Name == iface {
			n += i.Clients()
		}
	}
	return n, nil
}

// drained tells how many clients are left. With --for, it is a warning if any are.
func (in *invocation) drained(iface string, left int) error {
	if in.json {
		if err := in.printJSON(api.DrainRequest{Interface: iface}); err != nil {
			return err
		}
	} else if left == 0 {
		in.printf("No client is left, and new ones are refused until cygnet drain --off.\n")
	} else {
		in.printf("Clients left: %d. They go to other hubs when they next refresh their registrations, "+
			"within a third of their holding time; those without another hub stay until they expire. "+
			"cygnet status tells how many are left.\n", left)
	}
	if left > 0 && in.length > 0 {
		return outcome(exitWarning)
	}
	return nil
}
