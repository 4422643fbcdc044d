package collect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cygnet/kernel/rtnl"
	"cygnet/nhrpd/netcheck"
	"cygnet/nhrpd/uplink/ikeprobe"
)

// Host asks this machine. Each field is one function, so that tests bring their own.
type Host struct {
	// Lookup returns the addresses of a name. network is ip4 or ip6.
	Lookup func(ctx context.Context, network, name string) ([]netip.Addr, error)
	// Resolvers returns the addresses of the resolvers that Lookup asks.
	Resolvers func() []string
	// Addresses returns the addresses that a tunnel over a device sends from.
	Addresses func(device string) (v4, v6 netip.Addr, err error)
	// Device returns the device that has an address, and its MTU; an empty name if none has.
	Device func(local netip.Addr) (name string, mtu int, err error)
	// Way returns the route to an address from another, by the table of a VRF if its name is not
	// empty.
	Way func(dest, source netip.Addr, vrf string) netcheck.Way
	// Ask asks a port for IKE; see ikeprobe.Ask.
	Ask func(ctx context.Context, device string, local netip.Addr, to netip.AddrPort) (
		ikeprobe.Outcome, time.Duration, error)
	// Clock returns the state of the clock.
	Clock func() netcheck.Clock
}

// This returns the host that the program runs on.
func This() Host {
	return Host{
		Lookup:    net.DefaultResolver.LookupNetIP,
		Resolvers: resolvers,
		Addresses: addresses,
		Device:    deviceOf,
		Way:       wayTo,
		Ask:       ikeprobe.Ask,
		Clock:     clock,
	}
}

// resolvers reads the resolvers of /etc/resolv.conf.
func resolvers() []string {
	file, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	defer file.Close()
	var all []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == "nameserver" {
			all = append(all, words[1])
		}
	}
	return all
}

// addresses implements Host.Addresses.
func addresses(device string) (v4, v6 netip.Addr, err error) {
	found, err := rtnl.CarriedAddresses(device)
	return found.V4, found.V6, err
}

// deviceOf implements Host.Device.
func deviceOf(local netip.Addr) (name string, mtu int, err error) {
	r, err := rtnl.Open()
	if err != nil {
		return "", 0, fmt.Errorf("find the device with %s: %w", local, err)
	}
	defer r.Close()
	all, err := r.AllAddresses()
	if err != nil {
		return "", 0, err
	}
	links, err := r.AllLinks()
	if err != nil {
		return "", 0, err
	}
	for _, a := range all {
		if a.Prefix.Addr() != local {
			continue
		}
		for _, l := range links {
			if l.Index == a.Index {
				return l.Name, l.MTU, nil
			}
		}
	}
	return "", 0, nil
}

// wayTo implements Host.Way.
func wayTo(dest, source netip.Addr, vrf string) netcheck.Way {
	w := netcheck.Way{Source: source}
	if err := findWay(&w, dest, vrf); err != nil {
		w.Error = err.Error()
	}
	return w
}

// findWay fills in the route to an address.
func findWay(w *netcheck.Way, dest netip.Addr, vrf string) error {
	r, err := rtnl.Open()
	if err != nil {
		return fmt.Errorf("ask the kernel for the route to %s: %w", dest, err)
	}
	defer r.Close()
	links, err := r.AllLinks()
	if err != nil {
		return err
	}
	master := 0
	for _, l := range links {
		if vrf != "" && l.Name == vrf {
			master = l.Index
		}
	}
	if vrf != "" && master == 0 {
		return fmt.Errorf("there is no VRF %s", vrf)
	}
	route, err := r.LookupFrom(dest, w.Source, master)
	if err != nil {
		return err
	}
	w.Prefix, w.Table, w.PathMTU = route.Prefix, route.Table, int(route.MTU)
	w.Gateway = route.Hops[0].Gateway
	for _, l := range links {
		if l.Index == route.Hops[0].Index {
			w.Device, w.MTU, w.Tunnel = l.Name, l.MTU, l.IsNBMA()
		}
	}
	return nil
}

// unsure is the error of a clock that nothing sets: the kernel lets its estimate grow up to this.
// A clock that is kept right has a smaller one, also where the flag STA_UNSYNC is set to keep the
// kernel from the hardware clock.
const unsure = 16 * time.Second

// clock asks the kernel how sure it is of the time.
func clock() netcheck.Clock {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return netcheck.Clock{Error: fmt.Errorf("adjtimex: %w", err).Error()}
	}
	return netcheck.Clock{Synchronized: time.Duration(t.Maxerror)*time.Microsecond < unsure}
}

// notFound reports whether a look-up failed because the name has no such address.
func notFound(err error) bool {
	var failed *net.DNSError
	var none *net.AddrError
	return errors.As(err, &failed) && failed.IsNotFound || errors.As(err, &none)
}
