package kernel

import (
	"errors"
	"fmt"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/sysctl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The companion is a GRE device in external mode (collect_md): what is sent by it says with each
// packet where to, and its look-up of route and IPsec policy takes the packet's mark. A network
// namespace can have one. It only sends: whatever arrives on it is dropped.

// ErrCompanionTaken says that somebody else has the one GRE device in external mode that a network
// namespace can have.
var ErrCompanionTaken = errors.New("another program has the GRE device in external mode, of which there can be one: " +
	"peers behind one NAT address cannot be told apart unless it is removed")

const (
	companionAlias  = "cygnet companion" // marks it as ours; `ip link` shows it
	companionSuffix = "-nat"
	companionMTU    = 65000 // above any tunnel's: what is too long for the underlay leaves in fragments
	maxNameLen      = unix.IFNAMSIZ - 1
)

// companionName is the name of a companion made for a tunnel.
func companionName(tunnel string) string {
	return tunnel[:min(len(tunnel), maxNameLen-len(companionSuffix))] + companionSuffix
}

// ensureCompanion returns the index of the companion, made and set up where that is still to do.
// Its program is there before it goes up: a companion that answers strangers has never been.
func ensureCompanion(r *rtnl.Conn, tunnel string, closed filter) (int, error) {
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
	// IPv6 on it would only send what nobody asked for. Where the kernel has none, there is nothing
	// to switch off.
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

// closeToArrivals has the companion drop what arrives on it.
func closeToArrivals(companion *rtnl.Link, closed filter) error {
	_, err := ensureFilters([]filter{closed.on(companion.Name, companion.Index)})
	return rtnl.Explain(err, "close %s to what arrives", companion.Name)
}

// findCompanion returns the GRE device in external mode, whoever's it is; nil: there is none.
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

func createCompanion(r *rtnl.Conn, tunnel string) (*rtnl.Link, error) {
	name := companionName(tunnel)
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, name)
	attributes.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
		info.String(unix.IFLA_INFO_KIND, rtnl.KindGRE)
		info.Nested(unix.IFLA_INFO_DATA, func(gre *netlink.AttributeEncoder) error {
			gre.Bytes(rtnl.GRECollectMeta, nil)
			return nil
		})
		return nil
	})
	err := r.SetLink(netlink.Create|netlink.Excl, rtnl.LinkFlags{}, attributes)
	if errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("%w (or an interface %s is there)", ErrCompanionTaken, name)
	}
	if err != nil {
		return nil, rtnl.Explain(err, "create the companion device %s", name)
	}
	made, err := r.LinkByName(name)
	if err != nil || made == nil {
		return nil, errors.Join(err, fmt.Errorf("the new companion device %s is gone already", name))
	}
	return made, nil
}

// removeUnusedCompanion removes our companion when no device has the program that sends by it.
func removeUnusedCompanion() error {
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

func hasEgressProgram(name string) (bool, error) {
	found, err := findFilter(egressFilter.on(name, 0))
	if errors.Is(err, unix.ENODEV) || errors.Is(err, errPlaceTaken) {
		return false, nil
	}
	return found, err
}
