package stopped

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
	"cygnet/kernel/multicast"
	"cygnet/kernel/peerlink"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/tables"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/logging"
	"cygnet/vici"
)

// ErrRunning is the error of Leave if a daemon runs.
var ErrRunning = errors.New("the daemon runs: \"cygnet leave\" has it say goodbye itself")

// abandonTime bounds how long a goodbye without a daemon takes.
const abandonTime = 30 * time.Second

// Leave says goodbye for a daemon that does not run, as far as that is possible without one:
//
//  1. It removes the neighbours and routes.
//  2. It has charon end the SAs, which tells the peers.
//  3. It removes the tunnels that the daemon made.
//  4. It removes the guards that no tunnel needs, and the fence if no guard is left.
//  5. It removes the rules of the underlays, which the goodbye of charon needs.
//
// It finds all that in the kernel and in charon, so the configuration may have changed since. If
// something cannot be removed, Leave goes on with the rest, and reports the fault to w or as
// an error. It returns ErrRunning if a daemon runs.
func Leave(ctx context.Context, c *config.Config, w io.Writer) error {
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
	pins, err := tables.OwnPins()
	problems := []error{err, removeEntries(ctx, log, pins)}
	if err := vici.Abandon(
		ctx, c.Daemon.VICISocket, func(string) bool { return true }, sites...,
	); err != nil && !noCharon(err) {
		fmt.Fprintf(w, "SAs that charon has stay: %v\n", err)
	}
	for _, name := range slices.Compact(names) {
		problems = append(problems,
			multicast.Detach(name),
			datapath.Detach(name),
			peerlink.Remove(name),
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
	if len(pins) > 0 {
		problems = append(problems, removeEntries(ctx, log, nil))
	}
	return errors.Join(append(problems, err)...)
}

// removeEntries removes the neighbours, routes and rules that a daemon made, except the pinned
// rules to keep. It uses the daemon's reconciler: what is not wanted of the daemon's entries goes.
func removeEntries(ctx context.Context, log *slog.Logger, keep []rtnl.Rule) error {
	tables, done, ended := tables.New(log, 0), make(chan struct{}), make(chan error, 1)
	for _, rule := range keep {
		tables.Pin(rule.String(), rule)
	}
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
