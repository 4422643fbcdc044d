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
	"cygnet/nhrpd/problem"
	"cygnet/nhrpd/wait"
)

// reloadRequest is work for the goroutine of manage, which owns the set of interfaces.
type reloadRequest struct {
	run  func(context.Context, *errgroup.Group) error
	done chan error // has room for the result of run
}

// managed runs f on the goroutine of manage, and returns the error of f. It returns another error
// if the context ends first.
func (d *Daemon) managed(
	ctx context.Context, f func(context.Context, *errgroup.Group) error,
) error {
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

// Reload reads the configuration file again and applies it: interfaces that are gone say goodbye,
// new ones start, and changed ones start anew with the new settings. It returns an error if the
// file is faulty, and everything then stays as it is.
func (d *Daemon) Reload(ctx context.Context) error {
	err := d.reloadFile(ctx)
	switch {
	case err == nil:
		d.problems.Resolve(problem.Key{Code: api.ProblemReload, Subject: d.path})
	case ctx.Err() == nil:
		// Report keeps the time of a problem that is known. This failure has to count as new.
		d.problems.Resolve(problem.Key{Code: api.ProblemReload, Subject: d.path})
		d.problems.Report(api.Problem{
			Code:     api.ProblemReload,
			Severity: api.SeverityError,
			Subject:  d.path,
			Text:     "the last reload failed: " + err.Error(),
			Remedy:   "correct " + d.path + " (cygnet check names each fault) and reload",
		})
	}
	return err
}

// reloadFile reads the configuration file and applies it.
func (d *Daemon) reloadFile(ctx context.Context) error {
	next, err := config.Load(d.path)
	if err != nil {
		return fmt.Errorf("the running configuration stays: %w", err)
	}
	for _, warning := range next.Warnings {
		d.log.Warn(warning)
	}
	return d.managed(ctx, func(ctx context.Context, g *errgroup.Group) error {
		return d.moveTo(ctx, g, next)
	})
}

// ReloadAndLog reloads the configuration, as SIGHUP asks for, and logs an error.
func (d *Daemon) ReloadAndLog(ctx context.Context) {
	if err := d.Reload(ctx); err != nil && ctx.Err() == nil {
		d.log.Error("reload failed", "file", d.path, "error", err)
	}
}

// reportObstacles reports the obstacles of the configuration c as problems. They replace those of
// the configuration before.
func (d *Daemon) reportObstacles(c *config.Config) {
	d.problems.ResolveAll(api.ProblemConfiguration, "")
	for _, text := range c.Obstacles {
		d.log.Error(text)
		d.problems.Report(api.Problem{
			Code:     api.ProblemConfiguration,
			Severity: api.SeverityError,
			Subject:  text,
			Text:     text,
		})
	}
}

// moveTo applies a new configuration. It runs on the goroutine of manage.
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
	for name := range d.runners {
		if !wanted[name] {
			errs = append(errs, d.leave(ctx, name))
		}
	}
	d.logs.Configure(next.Log)
	d.config = next
	d.reportObstacles(next)
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

// adopt starts a new interface. It starts a changed interface anew, on the tunnel that exists.
func (d *Daemon) adopt(ctx context.Context, g *errgroup.Group, c config.Interface) error {
	if r := d.runners[c.Name]; r != nil {
		if canGoOn(r.config, c) {
			return nil
		}
		if r.config.Protected && !c.Protected {
			d.endSAs(ctx, c.Name)
		}
		d.close(ctx, c.Name)
	}
	return d.open(ctx, g, c)
}

// endSAs removes an interface's connections from charon, and waits for the end of its SAs. The
// connections go first: otherwise a spoke that loses its SA could make a new one at once.
func (d *Daemon) endSAs(ctx context.Context, name string) {
	d.strongswan.RemoveProfile(name)
	if err := d.awaitNoSAs(ctx, name); err != nil {
		d.log.Warn("some SAs have not ended; their peers find out by dead peer detection",
			"interface", name, "error", err)
	}
}

// canGoOn reports whether a runner can go on unchanged with another configuration of its interface.
// It can if only the peer rules differ, because the engine alone applies those.
func canGoOn(a, b config.Interface) bool {
	a.Policy, b.Policy = nil, nil
	return reflect.DeepEqual(a, b)
}

// Leave says goodbye on one interface or, with an empty name, on all: it tells the peers, removes
// routes and neighbours, closes the SAs, removes the tunnel if Cygnet made it, and removes the
// guard last. A reload joins again. It returns an error if there is no such interface or if the
// interface has left already.
func (d *Daemon) Leave(ctx context.Context, name string) error {
	return d.managed(ctx, func(ctx context.Context, _ *errgroup.Group) error {
		if name != "" {
			return d.leave(ctx, name)
		}
		var errs []error
		for _, c := range d.config.Interfaces {
			if d.runners[c.Name] != nil {
				errs = append(errs, d.leave(ctx, c.Name))
			}
		}
		return errors.Join(errs...)
	})
}

// leave says goodbye on one interface. It runs on the goroutine of manage.
func (d *Daemon) leave(ctx context.Context, name string) error {
	r := d.runners[name]
	switch {
	case r == nil && slices.ContainsFunc(d.config.Interfaces, func(c config.Interface) bool {
		return c.Name == name
	}):
		return fmt.Errorf("leave %s: it has left already; systemctl reload cygnetd makes it join again (%w)",
			name, api.ErrRefused)
	case r == nil:
		return fmt.Errorf("leave %s: %w", name, api.ErrNoInterface)
	}
	d.log.Info("leaving", "interface", name)
	if err := d.sayGoodbye(ctx, name); err != nil {
		return fmt.Errorf("leave %s: %w", name, err)
	}
	d.endSAs(ctx, name)
	d.close(ctx, name)
	defer d.clear.Changed()
	if err := errors.Join(d.platform.Detach(name), r.tunnel.Remove()); err != nil {
		return fmt.Errorf("leave %s: %w", name, err)
	}
	return nil
}

// sayGoodbye has the engine tell the other routers. It returns when each has acknowledged the
// goodbye or could not be reached, and the kernel has no neighbours and routes of the interface any
// more. It returns an error if the context ends first.
func (d *Daemon) sayGoodbye(ctx context.Context, name string) error {
	left, done := make(chan struct{}), make(chan struct{})
	err := d.loop.call(ctx, func(now time.Time) {
		d.loop.iface(name).left = left
		d.loop.engine.Handle(now, engine.Leave{Interface: name}, &d.loop.out)
	})
	if err != nil {
		return err
	}
	if err := closed(ctx, left); err != nil {
		return err
	}
	// The loop carried out the engine's output before it closed left. So the reconciler has all
	// changes by now, and After waits until the kernel has them.
	d.tables.After(func() { close(done) })
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

// awaitNoSAs waits until strongSwan has closed the SAs of the interface. It returns an error if
// SAs are left after closeTime or if strongSwan does not answer.
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
		if !wait.For(ctx, 20*time.Millisecond) {
			return fmt.Errorf("%d SAs not closed after %s", left, closeTime)
		}
	}
}
