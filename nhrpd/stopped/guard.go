// Package stopped does what is needed while no daemon runs. It blocks clear GRE before the network
// is up, and it says goodbye for a daemon that is stopped for good.
//
// It finds what an earlier run left in the kernel, in charon and on the disk.
package stopped

import (
	"fmt"
	"io"
	"net/netip"

	"cygnet/kernel/clock"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/statedir"
	"cygnet/nhrpd/translate"
)

// GuardEarly blocks clear GRE of all protected interfaces before the network is up, as the daemon
// does later, and writes to w what it blocked. If an interface sends from a device that has no
// address yet, GuardEarly takes the address of the last run. If that is unknown as well, GuardEarly
// says so: an interface that exists before the daemon is then not guarded until the daemon runs. It
// returns an error if a guard cannot be set.
func GuardEarly(c *config.Config, w io.Writer) error {
	before, problem := addressesBefore(c.Daemon.StateDir)
	if problem != nil {
		fmt.Fprintf(w, "addresses of the last run are not known: %v\n", problem)
	}
	var failed error
	for i := range c.Interfaces {
		ifc := &c.Interfaces[i]
		if !ifc.Protected {
			continue
		}
		guarded, err := tunnel.GuardEarly(translate.TunnelConfig(ifc), before[ifc.Name]...)
		switch {
		case err != nil:
			failed = fmt.Errorf("guard %s: %w", ifc.Name, err)
			fmt.Fprintf(w, "%v\n", failed)
		case len(guarded) == 0:
			fmt.Fprintf(w, "%s is not guarded yet: %s has no address, and none is known from before; give an address in underlay where the interface exists before the daemon\n",
				ifc.Name, ifc.Underlay)
		}
		for _, local := range guarded {
			fmt.Fprintf(w, "%s: no clear GRE from or to %s\n", ifc.Name, local)
		}
	}
	return failed
}

// addressesBefore returns the addresses that the interfaces of the last run sent from, by the
// interfaces' names.
func addressesBefore(stateDir string) (map[string][]netip.Addr, error) {
	saved, err := statedir.State{Dir: stateDir, Uptime: clock.Uptime}.Load()
	if err != nil {
		return nil, err
	}
	addresses := make(map[string][]netip.Addr, len(saved.Interfaces))
	for _, ifc := range saved.Interfaces {
		addresses[ifc.Name] = []netip.Addr{ifc.NBMA, ifc.Second}
	}
	return addresses, nil
}
