package datapath

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/sysctl"
	"cygnet/kernel/tc"

	"github.com/cilium/ebpf"
	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The companion device is a GRE device in external mode (collect_md). Each packet sent through it
// carries its own outer destination, and the kernel uses the packet's mark to look up the route and
// the IPsec policy. A network namespace can have only one such device. The companion device only
// sends: a program drops whatever arrives on it.

// ErrCompanionTaken means that another program has the one GRE device in external mode that a
// network namespace can have.
var ErrCompanionTaken = errors.New(
	"another program has the GRE device in external mode, of which there can be one")

// ErrNoCompanion means that this system cannot send through a companion device.
var ErrNoCompanion = errors.New("the kernel cannot choose the peer of each packet by itself")

// Companion is what programs of other packages need to send through the companion device.
type Companion struct {
	Index int    // interface index of the companion device
	Key   uint32 // GRE key that the tunnel sends with; a packet has it if the tunnel has one

	// Sent is the table of what was sent to each outer address, which Path.Sent reads. A program
	// that sends through the companion device counts there. Path.Close closes it.
	Sent *ebpf.Map
}

const (
	// companionAlias is the alias of a companion device of the daemon's; `ip link` shows it.
	companionAlias = "cygnet companion"

	companionSuffix = "-nat"

	// companionMTU is above the MTU of any tunnel. A packet that is too long for the underlay
	// leaves in fragments.
	companionMTU = 65000

	maxNameLen = unix.IFNAMSIZ - 1
)

// Companion implements Path.
func (s *ebpfPath) Companion() (Companion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		return Companion{}, fmt.Errorf("%w: %w", ErrNoCompanion, errNotLoaded)
	}
	way, err := s.openWay()
	if err != nil {
		return Companion{}, err
	}
	return Companion{int(way.Companion), way.Key, s.objects.SentTo}, nil
}

// openWay sets up the companion device, and returns how packets leave by it. It checks everything
// on each call, and so corrects what others removed or changed. mu is held.
func (s *ebpfPath) openWay() (bpfWay, error) {
	r, err := rtnl.Open()
	if err != nil {
		return bpfWay{}, err
	}
	defer r.Close()
	tunnel, err := r.LinkByName(s.device)
	if err != nil {
		return bpfWay{}, err
	}
	if tunnel == nil {
		return bpfWay{}, fmt.Errorf("find %s: it is gone", s.device)
	}
	if err := s.probeCompanion(tunnel); err != nil {
		return bpfWay{}, err
	}
	companion, err := ensureCompanion(r, s.device, s.companionFilter())
	if err != nil {
		return bpfWay{}, err
	}
	s.companion = companion
	return bpfWay{Companion: uint32(companion), Key: tunnel.OKey}, nil
}

// companionDevice is held while the companion device is looked for and made or removed. The tunnels
// share it, and one that found it half made would take it for another program's.
var companionDevice sync.Mutex

// companionName returns the name of a companion device made for a tunnel.
func companionName(tunnel string) string {
	return tunnel[:min(len(tunnel), maxNameLen-len(companionSuffix))] + companionSuffix
}

// ensureCompanion creates and sets up the companion device, as far as that has not been done, and
// returns its index. It attaches the program before it sets the device up, so that the host never
// answers packets that arrive on the companion device.
func ensureCompanion(r *rtnl.Conn, tunnel string, closed tc.Filter) (int, error) {
	companionDevice.Lock()
	defer companionDevice.Unlock()
	have, err := findCompanion(r)
	if err != nil {
		return 0, err
	}
	if have == nil {
		if have, err = createCompanion(r, tunnel); err != nil {
			return 0, err
		}
	}
	if have.Alias != companionAlias && have.Name != companionName(tunnel) {
		return 0, fmt.Errorf("%w (it is %s)", ErrCompanionTaken, have.Name)
	}
	if have.Alias != companionAlias {
		if err := r.SetAlias(have.Index, companionAlias); err != nil {
			return 0, rtnl.Explain(err, "mark the companion device %s as ours", have.Name)
		}
	}
	// With IPv6 the kernel would send packets of its own through the device. A kernel without IPv6
	// has no such setting, so the error does not matter.
	_, _ = sysctl.Set("net/ipv6/conf/"+have.Name+"/disable_ipv6", "1")
	if err := closeToArrivals(have, closed); err != nil {
		return 0, err
	}
	if have.MTU != companionMTU {
		if err := r.SetMTU(have.Index, companionMTU); err != nil {
			return 0, rtnl.Explain(err, "set the MTU of %s to %d", have.Name, companionMTU)
		}
	}
	if !have.Up {
		if err := r.SetUp(have.Index); err != nil {
			return 0, rtnl.Explain(err, "set %s up", have.Name)
		}
	}
	return have.Index, nil
}

// closeToArrivals attaches the program that drops whatever arrives on the companion device.
func closeToArrivals(companion *rtnl.Link, closed tc.Filter) error {
	_, err := tc.Ensure([]tc.Filter{closed.On(companion.Name, companion.Index)})
	return rtnl.Explain(err, "close %s to what arrives", companion.Name)
}

// findCompanion returns the GRE device in external mode, even if it is another program's. It
// returns nil if there is none.
func findCompanion(r *rtnl.Conn) (*rtnl.Link, error) {
	all, err := r.GRELinks()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.Kind == rtnl.KindGRE && l.External {
			return l, nil
		}
	}
	return nil, nil
}

// createCompanion creates a GRE device in external mode, which is down and has no alias.
func createCompanion(r *rtnl.Conn, tunnel string) (*rtnl.Link, error) {
	name := companionName(tunnel)
	attributes := vnl.NewLinkAttrs()
	attributes.Name = name
	err := vnl.LinkAdd(&vnl.Gretun{
		LinkAttrs: attributes,
		FlowBased: true,
		Local:     net.IPv4zero, // it chooses the kind gre, and is not sent
	})
	if errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("%w (or an interface %s is there)", ErrCompanionTaken, name)
	}
	if err != nil {
		return nil, rtnl.Explain(err, "create the companion device %s", name)
	}
	made, err := r.LinkByName(name)
	if err != nil || made == nil {
		return nil, errors.Join(err,
			fmt.Errorf("the new companion device %s is gone already", name))
	}
	return made, nil
}

// removeUnusedCompanion removes the daemon's companion device if no device has the program that
// sends through it.
func removeUnusedCompanion() error {
	companionDevice.Lock()
	defer companionDevice.Unlock()
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	companion, err := findCompanion(r)
	if err != nil || companion == nil || companion.Alias != companionAlias {
		return err
	}
	all, err := r.GRELinks()
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.Kind != rtnl.KindGRE || l.External {
			continue
		}
		used, err := hasEgressProgram(l.Name)
		if used || err != nil {
			return err
		}
	}
	if err := r.DeleteLink(companion.Index); err != nil && !errors.Is(err, unix.ENODEV) {
		return rtnl.Explain(err, "remove the companion device %s", companion.Name)
	}
	return nil
}

// hasEgressProgram reports whether a device has the program that sends through the companion
// device.
func hasEgressProgram(name string) (bool, error) {
	found, err := tc.Find(egressFilter.On(name, 0))
	if errors.Is(err, unix.ENODEV) || errors.Is(err, tc.ErrPlaceTaken) {
		return false, nil
	}
	return found, err
}
