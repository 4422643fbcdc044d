package nhrpd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/config/difference"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/logging"
	"cygnet/nhrpd/problem"
	"cygnet/nhrpd/translate"
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

// Reload reads the configuration file again and applies it, or with dryRun only tells what that
// would change: interfaces that are gone say goodbye, new ones start, and changed ones start anew
// with the new settings, on the tunnel that is there. Reload returns when each of these has been
// tried, and logs a failure. If the file is faulty, everything stays as it is; see api.Daemon.
func (d *Daemon) Reload(ctx context.Context, dryRun bool) (*api.Reloaded, error) {
	report, err := d.reloadFile(ctx, dryRun)
	if dryRun {
		return report, err
	}
	switch {
	case err == nil:
		d.problems.Resolve(problem.Key{Code: api.ProblemReload, Subject: d.path})
		d.problems.Resolve(problem.Key{Code: api.ProblemFileDiffers, Subject: d.path})
	case ctx.Err() == nil:
		d.log.Error("reload failed", logging.EventKey, api.EventReloadFailed,
			"file", d.path, "error", err)
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
	return report, err
}

// reloadFile reads the configuration file and applies it, or with dryRun only compares it.
func (d *Daemon) reloadFile(ctx context.Context, dryRun bool) (*api.Reloaded, error) {
	var report *api.Reloaded
	var tried map[string]*runner
	err := d.managed(ctx, func(ctx context.Context, g *errgroup.Group) error {
		// The file is read here, so that of several reloads the last one to read is the last one to
		// apply what it read.
		next, err := config.Load(d.path)
		if err != nil {
			return fmt.Errorf("the running configuration stays: %w (%w)", err, api.ErrRefused)
		}
		report = d.compare(next)
		report.DryRun = dryRun
		if dryRun {
			return nil
		}
		for _, warning := range next.Warnings {
			d.log.Warn(warning)
		}
		d.loaded.Store(asLoaded(next))
		d.findTables(next)
		err = d.moveTo(ctx, g, next)
		tried = maps.Clone(d.runners)
		return err
	})
	if err != nil || dryRun {
		return report, err
	}
	return report, d.awaitTried(ctx, report, tried)
}

// asLoaded returns a copy of a configuration as it was read, for comparisons. The daemon adds to
// the original what it finds out about this host.
func asLoaded(c *config.Config) *config.Config {
	loaded := *c
	loaded.Interfaces = slices.Clone(c.Interfaces)
	return &loaded
}

// compare returns what a reload to the configuration next changes. It runs on the goroutine of
// manage.
func (d *Daemon) compare(next *config.Config) *api.Reloaded {
	before := d.loaded.Load()
	report := &api.Reloaded{NextStart: next.DaemonDiffers(before), Warnings: next.Warnings}
	for i := range next.Interfaces {
		ifc := &next.Interfaces[i]
		of := interfaceOf(before, ifc.Name)
		entry := api.ReloadedInterface{Name: ifc.Name, Action: api.ReloadAdded}
		switch {
		case of == nil:
		case d.runners[ifc.Name] == nil:
			entry.Action, entry.Changes = api.ReloadJoined, changes(of, ifc)
		default:
			entry.Action, entry.Changes = api.ReloadRenewed, changes(of, ifc)
			if len(entry.Changes) == 0 {
				entry.Action = api.ReloadKept
			} else if canGoOn(*of, *ifc) {
				entry.Action = api.ReloadChanged
			}
		}
		report.Interfaces = append(report.Interfaces, entry)
	}
	for i := range before.Interfaces {
		if name := before.Interfaces[i].Name; interfaceOf(next, name) == nil {
			report.Interfaces = append(report.Interfaces,
				api.ReloadedInterface{Name: name, Action: api.ReloadRemoved})
		}
	}
	return report
}

// interfaceOf returns the interface of a configuration that has the name, or nil.
func interfaceOf(c *config.Config, name string) *config.Interface {
	i := slices.IndexFunc(c.Interfaces, func(ifc config.Interface) bool { return ifc.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Interfaces[i]
}

// changes returns the settings that differ, as the API shows them.
func changes(from, to *config.Interface) []api.Change {
	var list []api.Change
	for _, c := range difference.Between(from, to) {
		list = append(list, api.Change(c))
	}
	return list
}

// awaitTried waits until the interfaces that a reload started have been tried, for readyTime at
// most, and adds to the report which of them do not work, and which of them a later reload or a
// goodbye has stopped. It returns an error if the context ends.
func (d *Daemon) awaitTried(
	ctx context.Context, report *api.Reloaded, tried map[string]*runner,
) error {
	late := time.NewTimer(readyTime)
	defer late.Stop()
	stopped := make(map[string]bool)
	for i := range report.Interfaces {
		r := tried[report.Interfaces[i].Name]
		if r == nil || !started(report.Interfaces[i].Action) {
			continue
		}
		select {
		case <-r.first:
		case <-r.done:
			stopped[report.Interfaces[i].Name] = true
		case <-late.C:
			late.Reset(0)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return d.loop.call(ctx, func(time.Time) {
		for i := range report.Interfaces {
			entry := &report.Interfaces[i]
			if stopped[entry.Name] {
				entry.Error = "a later reload or cygnet leave stopped it before it was tried"
				continue
			}
			if ifc := d.loop.interfaces[entry.Name]; ifc != nil && started(entry.Action) {
				entry.Error = ifc.fault
			}
		}
	})
}

// started reports whether a reload starts an interface, for the first time or anew.
func started(a api.ReloadAction) bool {
	return a == api.ReloadAdded || a == api.ReloadJoined || a == api.ReloadRenewed
}

// ReloadAndLog reloads the configuration, as SIGHUP asks for. Nobody but the log is told of an
// error.
func (d *Daemon) ReloadAndLog(ctx context.Context) { _, _ = d.Reload(ctx, false) }

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
	d.mtus.fit(next)
	d.config = next
	d.reportObstacles(next)
	d.groups.Assign(next, nil)
	for name := range d.runners {
		if d.groups.Moved(name) {
			d.goodbyes.endSAs(ctx, name)
			d.close(ctx, name)
		}
	}
	err := d.loop.call(ctx, func(now time.Time) {
		d.loop.engine.Configure(now, d.engineConfig(next), &d.loop.out)
	})
	errs = append(errs, err)
	for _, c := range next.Interfaces {
		errs = append(errs, d.adopt(ctx, g, c))
	}
	d.log.Info("configuration reloaded", logging.EventKey, api.EventReloaded,
		"interfaces", len(next.Interfaces))
	return errors.Join(errs...)
}

// adopt starts a new interface. It starts a changed interface anew, on the tunnel that exists. That
// interface registers as soon as it has its tunnel again: only the answers of the NHSs tell whether
// packets pass as it is now.
func (d *Daemon) adopt(ctx context.Context, g *errgroup.Group, c config.Interface) error {
	before := d.runners[c.Name]
	if before == nil {
		return d.open(ctx, g, d.newRunner(c))
	}
	if canGoOn(before.config, c) {
		before.authorizer.Use(c.Authorize.Socket)
		return nil
	}
	if before.config.Protected && !c.Protected {
		d.goodbyes.endSAs(ctx, c.Name)
	}
	d.close(ctx, c.Name)
	if difference.OtherTunnel(&before.config, &c) {
		err := d.loop.call(ctx, func(now time.Time) {
			d.loop.engine.Handle(now, engine.TunnelReplaced{Interface: c.Name}, &d.loop.out)
		})
		if err != nil {
			return err
		}
	}
	r := d.newRunner(c)
	r.startedAnew = true
	return d.open(ctx, g, r)
}

// canGoOn reports whether a runner can go on unchanged with another configuration of its interface.
// It can if only the peer rules differ, or which of the NHSs are used, because the engine alone
// applies those, or who is asked about registrations, which the runner's client is told.
func canGoOn(a, b config.Interface) bool {
	for _, c := range []*config.Interface{&a, &b} {
		c.Policy, c.MaxConnections, c.FallbackDelay = nil, nil, 0
		c.Authorize = config.Authorize{}
		c.NHS = slices.Clone(c.NHS)
		for i := range c.NHS {
			c.NHS[i].Priority, c.NHS[i].Cluster = 0, 0
		}
	}
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
	d.log.Info("leaving", logging.EventKey, api.EventLeaving, "interface", name)
	if err := d.goodbyes.say(ctx, name); err != nil {
		return fmt.Errorf("leave %s: %w", name, err)
	}
	d.goodbyes.endSAs(ctx, name)
	d.close(ctx, name)
	defer d.clear.Changed()
	if err := errors.Join(
		d.platform.DetachMulticast(name), d.platform.Detach(name),
		d.platform.RemoveLinks(name), r.tunnel.Remove(),
	); err != nil {
		return fmt.Errorf("leave %s: %w", name, err)
	}
	return d.goodbyes.unpin(ctx, name)
}

// engineConfig returns the part of the configuration that the engine decides by, with the groups of
// interfaces that share their SAs.
func (d *Daemon) engineConfig(c *config.Config) engine.Config {
	out := translate.EngineConfig(c)
	for i := range out.Interfaces {
		if ifc := &out.Interfaces[i]; ifc.Protected {
			ifc.SAGroup = d.groups.Of(ifc.Name)
		}
	}
	return out
}
