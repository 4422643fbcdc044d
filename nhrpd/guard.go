package nhrpd

import (
	"fmt"
	"io"
	"net/netip"

	"cygnet/kernel"
	"cygnet/nhrpd/config"
)

// GuardEarly blocks clear GRE of all protected interfaces before the network is up, as the daemon does later, and says so line by line.
// Where an interface sends from a device without an address, the address is that of the last run. It says where none is known: until
// the daemon runs, an interface to be adopted is not guarded then.
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
		guarded, err := kernel.GuardEarly(tunnelConfig(ifc), before[ifc.Name])
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

// addressesBefore are those that the last run's interfaces sent from, by their names.
func addressesBefore(stateDir string) (map[string]netip.Addr, error) {
	saved, err := stateFile{dir: stateDir, uptime: kernel.Uptime}.load()
	if err != nil {
		return nil, err
	}
	addresses := make(map[string]netip.Addr, len(saved.Interfaces))
	for _, ifc := range saved.Interfaces {
		addresses[ifc.Name] = ifc.NBMA
	}
	return addresses, nil
}
