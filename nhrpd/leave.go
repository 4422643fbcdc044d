package nhrpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"syscall"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/fence"
	"cygnet/kernel/tables"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/logging"
	"cygnet/nhrpd/wait"
	"cygnet/vici"
)

// ErrRunning is the error of LeaveStopped if a daemon runs.
var ErrRunning = errors.New("the daemon runs: \"cygnet leave\" has it say goodbye itself")

// abandonTime bounds how long a goodbye without a daemon takes.
const abandonTime = 30 * time.Second

// LeaveStopped says goodbye for a daemon that does not run, as far as that is possible without one:
//
//  1. It removes the neighbours and routes.
//  2. It has charon end the SAs, which tells the peers.
//  3. It removes the tunnels that the daemon made.
//  4. It removes the guards that no tunnel needs, and the fence if no guard is left.
//
// It finds all that in the kernel and in charon, so the configuration may have changed since. If
// something cannot be removed, LeaveStopped goes on with the rest, and reports the fault to w or as
// an error. It returns ErrRunning if a daemon runs.
func LeaveStopped(ctx context.Context, c *config.Config, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, abandonTime)
	defer cancel()
	if conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.Daemon.APISocket); err == nil {
		conn.Close()
		return ErrRunning
	}
	log := logging.New(w, c.Log).Of(logging.Kernel)
	found, err := tunnel.FindLeftovers()
	if err != nil {
		return err
	}
	names, sites := found.Tunnels, []string(nil)
	for i := range c.Interfaces {
		names = append(names, c.Interfaces[i].Name)
		if s := c.Interfaces[i].IPsec; s != nil && s.SwanctlConnection != "" {
			sites = append(sites, s.SwanctlConnection)
		}
	}
	slices.Sort(names)
	problems := []error{removeEntries(ctx, log)}
	if err := vici.Abandon(
		ctx, c.Daemon.VICISocket, func(string) bool { return true }, sites...,
	); err != nil && !noCharon(err) {
		fmt.Fprintf(w, "SAs that charon has stay: %v\n", err)
	}
	for _, name := range slices.Compact(names) {
		problems = append(problems,
			datapath.Detach(name),
			tunnel.New(tunnel.Config{Name: name, Protected: true}, log).Remove())
	}
	kept, err := tunnel.ReleaseGuards()
	if len(kept) == 0 {
		err = errors.Join(err, fence.Remove())
	}
	for _, local := range kept {
		fmt.Fprintf(w, "clear GRE from and to %s stays blocked, since a tunnel has that address that cygnetd did not make; \"ip xfrm policy delete\" ends it\n",
			local)
	}
	return errors.Join(append(problems, err)...)
}

// removeEntries removes the neighbours and routes that a daemon made. It uses the daemon's
// reconciler: with nothing wanted, all entries of the daemon's go.
func removeEntries(ctx context.Context, log *slog.Logger) error {
	tables, done, ended := tables.New(log, 0), make(chan struct{}), make(chan error, 1)
	tables.Settle()
	tables.After(func() { close(done) })
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { ended <- tables.Run(ctx) }()
	select {
	case <-done:
		return nil
	case err := <-ended:
		return errors.Join(err, ctx.Err())
	}
}

// noCharon reports whether charon could not be reached because none runs. There are no SAs then.
func noCharon(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// logForgotten logs which interfaces left something in the kernel although the configuration does
// not have them any more. A reload would have said goodbye on them. A restart cannot.
func (d *Daemon) logForgotten(saved engine.Saved) {
	found, err := d.platform.FindLeftovers()
	if err != nil {
		d.log.Warn("cannot tell what is left of interfaces that are not configured any more", "error", err)
		return
	}
	forgotten := found.Tunnels
	for _, ifc := range saved.Interfaces {
		if slices.Contains(found.Guarded, ifc.NBMA) {
			forgotten = append(forgotten, ifc.Name)
		}
	}
	slices.Sort(forgotten)
	for _, name := range slices.Compact(forgotten) {
		if slices.ContainsFunc(d.config.Interfaces, func(c config.Interface) bool {
			return c.Name == name
		}) {
			continue
		}
		d.log.Warn("an interface is not in the configuration any more and nobody said goodbye: its tunnel, its SAs and the block on clear GRE stay; "+
			"put it back and reload, then remove it and reload",
			"interface", name)
	}
}

// abandon has charon end the SAs of interfaces that were protected in the last run and are not
// protected in this one. It tries until that succeeds.
func (d *Daemon) abandon(ctx context.Context, saved engine.Saved) error {
	unprotected := make(map[string]bool)
	for _, ifc := range saved.Interfaces {
		unprotected[ifc.Name] = ifc.Protected &&
			slices.ContainsFunc(d.config.Interfaces, func(c config.Interface) bool {
				return c.Name == ifc.Name && !c.Protected
			})
	}
	gone := func(iface string) bool { return unprotected[iface] }
	if !slices.ContainsFunc(saved.Interfaces, func(ifc engine.SavedInterface) bool {
		return gone(ifc.Name)
	}) {
		return nil
	}
	var backOff wait.BackOff
	for {
		err := d.platform.Abandon(ctx, d.config.Daemon.VICISocket, gone)
		if err == nil {
			d.log.Info("IPsec of the last run has ended on interfaces that are not protected any more")
			return nil
		}
		d.log.Debug("cannot end the IPsec of the last run, trying again", "error", err)
		if !backOff.Sleep(ctx) {
			return nil
		}
	}
}
