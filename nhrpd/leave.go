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

	"cygnet/kernel"
	"cygnet/kernel/tables"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/vici"
)

// ErrRunning says that a daemon keeps the interfaces.
var ErrRunning = errors.New("the daemon runs: \"cygnet leave\" has it say goodbye itself")

// abandonTime bounds what a goodbye without a daemon takes.
const abandonTime = 30 * time.Second

// LeaveStopped says goodbye for a daemon that does not run, as far as that goes without one: neighbours and routes go, charon ends the SAs
// and so tells the peers, tunnels are removed that the daemon made, and guards last that no tunnel needs. It takes that from kernel and
// charon, so that the configuration may have changed since. What it cannot remove it says to w, and does the rest.
func LeaveStopped(ctx context.Context, c *config.Config, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, abandonTime)
	defer cancel()
	if conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.Daemon.APISocket); err == nil {
		conn.Close()
		return ErrRunning
	}
	log := newLoggers(w, c.Log).of(logKernel)
	found, err := kernel.FindLeftovers()
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
	if err := vici.Abandon(ctx, c.Daemon.VICISocket, func(string) bool { return true }, sites...); err != nil && !noCharon(err) {
		fmt.Fprintf(w, "SAs that charon has stay: %v\n", err)
	}
	for _, name := range slices.Compact(names) {
		problems = append(problems, kernel.Detach(name), kernel.NewTunnel(kernel.TunnelConfig{Name: name, Protected: true}, log).Remove())
	}
	kept, err := kernel.ReleaseGuards()
	if len(kept) == 0 {
		err = errors.Join(err, kernel.RemoveFence())
	}
	for _, local := range kept {
		fmt.Fprintf(w, "clear GRE from and to %s stays blocked, since a tunnel has that address that cygnetd did not make; \"ip xfrm policy delete\" ends it\n", local)
	}
	return errors.Join(append(problems, err)...)
}

// removeEntries removes the neighbours and routes that a daemon made.
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

// noCharon says whether an attempt to reach charon failed because none runs: then it has no SAs.
func noCharon(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// tellForgotten says of which interfaces there are leftovers though the configuration does not have them any more: a reload would have
// said goodbye, a restart cannot.
func (d *Daemon) tellForgotten(saved engine.Saved) {
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
		if slices.ContainsFunc(d.config.Interfaces, func(c config.Interface) bool { return c.Name == name }) {
			continue
		}
		d.log.Warn("an interface is not in the configuration any more and nobody said goodbye: its tunnel, its SAs and the block on clear GRE stay; "+
			"put it back and reload, then remove it and reload", "interface", name)
	}
}

// abandon ends in charon what belongs to interfaces that the last run protected and this one does not.
func (d *Daemon) abandon(ctx context.Context, saved engine.Saved) error {
	unprotected := make(map[string]bool)
	for _, ifc := range saved.Interfaces {
		unprotected[ifc.Name] = ifc.Protected && slices.ContainsFunc(d.config.Interfaces, func(c config.Interface) bool {
			return c.Name == ifc.Name && !c.Protected
		})
	}
	gone := func(iface string) bool { return unprotected[iface] }
	if !slices.ContainsFunc(saved.Interfaces, func(ifc engine.SavedInterface) bool { return gone(ifc.Name) }) {
		return nil
	}
	var wait backOff
	for {
		err := d.platform.Abandon(ctx, d.config.Daemon.VICISocket, gone)
		if err == nil {
			d.log.Info("IPsec of the last run has ended on interfaces that are not protected any more")
			return nil
		}
		d.log.Debug("cannot end the IPsec of the last run, trying again", "error", err)
		if wait.sleep(ctx) != nil {
			return nil
		}
	}
}
