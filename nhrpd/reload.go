package nhrpd

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
)

// reloadRequest is work for the manager, the owner of the set of interfaces.
type reloadRequest struct {
	run  func(context.Context, *errgroup.Group) error
	done chan error
}

// managed runs f on the manager and waits for its end.
func (d *Daemon) managed(ctx context.Context, f func(context.Context, *errgroup.Group) error) error {
	r := reloadRequest{run: f, done: make(chan error, 1)}
	select {
	case d.reload <- r:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Reload reads the configuration file again and moves to it: interfaces that are gone say goodbye, new ones start, changed ones
// change. With a faulty file everything stays as it is, and the error says what is wrong.
func (d *Daemon) Reload(ctx context.Context) error {
	err := d.reloadFile(ctx)
	switch {
	case err == nil:
		d.problems.resolve(api.ProblemReload, "", d.path)
	case ctx.Err() == nil:
		d.problems.resolve(api.ProblemReload, "", d.path) // the newest failure is the one that began last
		d.problems.report(api.Problem{Code: api.ProblemReload, Severity: api.SeverityError, Subject: d.path,
			Text: "the last reload failed: " + err.Error(), Remedy: "correct " + d.path + " (cygnet check names each fault) and reload"})
	}
	return err
}

func (d *Daemon) reloadFile(ctx context.Context) error {
	next, err := config.Load(d.path)
	if err != nil {
		return fmt.Errorf("the running configuration stays: %w", err)
	}
	for _, warning := range next.Warnings {
		d.log.Warn(warning)
	}
	return d.managed(ctx, func(ctx context.Context, g *errgroup.Group) error { return d.moveTo(ctx, g, next) })
}

// ReloadAndTell reloads as SIGHUP asks for: the outcome goes to the log.
func (d *Daemon) ReloadAndTell(ctx context.Context) {
	if err := d.Reload(ctx); err != nil && ctx.Err() == nil {
		d.log.Error("reload failed", "file", d.path, "error", err)
	}
}

func (d *Daemon) moveTo(ctx context.Context, g *errgroup.Group, next *config.Config) error {
	if next.Daemon != d.config.Daemon {
		d.log.Warn("changes in [daemon] take effect with the next start")
		next.Daemon = d.config.Daemon
	}
	if next.Log.Format != d.config.Log.Format {
		d.log.Warn("a change of format in [log] takes effect with the next start")
	}
	wanted := make(map[string]bool)
	for _, c := range next.Interfaces {
		wanted[c.Name] = true
	}
	var errs []error
	for name := range d.ports {
		if !wanted[name] {
			errs = append(errs, d.leave(ctx, name))
		}
	}
	d.logs.configure(next.Log)
	d.config = next
	d.reportDoubts(next)
	err := d.loop.call(ctx, func(now time.Time) {
		d.loop.engine.Configure(now, engineConfig(next), &d.loop.out)
	})
	errs = append(errs, err)
	for _, c := range next.Interfaces {
		errs = append(errs, d.adopt(ctx, g, c))
	}
	d.log.Info("configuration reloaded", "interfaces", len(next.Interfaces))
	return errors.Join(errs...)
}

// adopt starts a new interface, and starts a changed one anew on the tunnel that is there.
func (d *Daemon) adopt(ctx context.Context, g *errgroup.Group, c config.Interface) error {
	if p := d.ports[c.Name]; p != nil {
		if samePort(p.config, c) {
			return nil
		}
		if p.config.Protected && !c.Protected {
			d.endSAs(ctx, c.Name)
		}
		d.close(ctx, c.Name)
	}
	return d.open(ctx, g, c)
}

// endSAs waits for the end of an interface's SAs, which the engine has closed, and unloads its connections from charon.
func (d *Daemon) endSAs(ctx context.Context, name string) {
	if err := d.awaitNoSAs(ctx, name); err != nil {
		d.log.Warn("SAs are left; their peers find out by dead peer detection", "interface", name, "error", err)
	}
	d.strongswan.RemoveProfile(name)
}

// samePort says whether two configurations of an interface differ at most in what the engine decides alone: who may be who.
func samePort(a, b config.Interface) bool {
	a.Policy, b.Policy = nil, nil
	return reflect.DeepEqual(a, b)
}

// Leave says goodbye on one interface, or on all with an empty name: peers are told, routes and neighbours go, SAs are closed,
// the tunnel is removed if it was ours, the guard goes last. A reload joins again.
func (d *Daemon) Leave(ctx context.Context, name string) error {
	return d.managed(ctx, func(ctx context.Context, _ *errgroup.Group) error {
		if name != "" {
			return d.leave(ctx, name)
		}
		var errs []error
		for _, c := range d.config.Interfaces {
			if d.ports[c.Name] != nil {
				errs = append(errs, d.leave(ctx, c.Name))
			}
		}
		return errors.Join(errs...)
	})
}

func (d *Daemon) leave(ctx context.Context, name string) error {
	p := d.ports[name]
	switch {
	case p == nil && slices.ContainsFunc(d.config.Interfaces, func(c config.Interface) bool { return c.Name == name }):
		return fmt.Errorf("leave %s: it has left already; systemctl reload cygnetd makes it join again (%w)", name, api.ErrRefused)
	case p == nil:
		return fmt.Errorf("leave %s: %w", name, api.ErrNoInterface)
	}
	d.log.Info("leaving", "interface", name)
	if err := d.sayGoodbye(ctx, name); err != nil {
		return fmt.Errorf("leave %s: %w", name, err)
	}
	d.endSAs(ctx, name)
	d.close(ctx, name)
	defer d.clear.ask()
	if err := errors.Join(d.platform.Detach(name), p.tunnel.Remove()); err != nil {
		return fmt.Errorf("leave %s: %w", name, err)
	}
	return nil
}

// sayGoodbye returns when those who were told have heard it, or could not be reached, and the kernel has none of the interface's
// neighbours and routes any more.
func (d *Daemon) sayGoodbye(ctx context.Context, name string) error {
	left, done := make(chan struct{}), make(chan struct{})
	err := d.loop.call(ctx, func(now time.Time) {
		d.loop.leaving[name] = left
		d.loop.engine.Handle(now, engine.Leave{Interface: name}, &d.loop.out)
	})
	if err != nil {
		return err
	}
	if err := closed(ctx, left); err != nil {
		return err
	}
	// The loop carried the output out before it closed the channel: the reconciler has all changes by now.
	d.tables.After(func() { close(done) })
	return closed(ctx, done)
}

// closed waits until a channel is closed.
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

// awaitNoSAs waits until strongSwan has closed the SAs of the interface.
func (d *Daemon) awaitNoSAs(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	for {
		left := 0
		for _, sa := range d.strongswan.SAs() {
			if sa.Interface == name {
				left++
			}
		}
		switch {
		case left == 0:
			return nil
		case !d.strongswan.Status().Connected:
			return fmt.Errorf("strongSwan does not answer, and %d SAs are not closed", left)
		}
		if !pause(ctx, 20*time.Millisecond) {
			return fmt.Errorf("%d SAs not closed after %s", left, closeTime)
		}
	}
}
