package kernel

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The companion is a GRE device in external mode (collect_md): what is sent by it says with each packet where to, and its look-up of
// route and IPsec policy takes the packet's mark. A network namespace can have one. It only sends: whatever arrives on it is dropped.

// ErrCompanionTaken says that somebody else has the one GRE device in external mode that a network namespace can have.
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

// ensureCompanion returns the index of the companion, made and set up where that is still to do. Its program is there before it goes
// up: a companion that answers strangers has never been.
func ensureCompanion(r *requests, tunnel string, closed filter) (int, error) {
	have, err := findCompanion(r)
	if err != nil {
		return 0, err
	}
	if have == nil {
		if have, err = createCompanion(r, tunnel); err != nil {
			return 0, err
		}
	}
	if have.alias != companionAlias && have.name != companionName(tunnel) {
		return 0, fmt.Errorf("%w (it is %s)", ErrCompanionTaken, have.name)
	}
	if have.alias != companionAlias {
		if err := r.setAlias(have.index, companionAlias); err != nil {
			return 0, explain(err, "mark the companion device %s as ours", have.name)
		}
	}
	// IPv6 on it would only send what nobody asked for. Where the kernel has none, there is nothing to switch off.
	_, _ = setSysctl("net/ipv6/conf/"+have.name+"/disable_ipv6", "1")
	if err := closeToArrivals(have, closed); err != nil {
		return 0, err
	}
	if have.mtu != companionMTU {
		if err := r.setMTU(have.index, companionMTU); err != nil {
			return 0, explain(err, "set the MTU of %s to %d", have.name, companionMTU)
		}
	}
	if !have.up {
		if err := r.setUp(have.index); err != nil {
			return 0, explain(err, "set %s up", have.name)
		}
	}
	return have.index, nil
}

// closeToArrivals has the companion drop what arrives on it.
func closeToArrivals(companion *link, closed filter) error {
	_, err := ensureFilters([]filter{closed.on(companion.name, companion.index)})
	return explain(err, "close %s to what arrives", companion.name)
}

// findCompanion returns the GRE device in external mode, whoever's it is; nil: there is none.
func findCompanion(r *requests) (*link, error) {
	all, err := r.greLinks()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.kind == kindGRE && l.external {
			return l, nil
		}
	}
	return nil, nil
}

func createCompanion(r *requests, tunnel string) (*link, error) {
	name := companionName(tunnel)
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, name)
	attributes.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
		info.String(unix.IFLA_INFO_KIND, kindGRE)
		info.Nested(unix.IFLA_INFO_DATA, func(gre *netlink.AttributeEncoder) error {
			gre.Bytes(greCollectMeta, nil)
			return nil
		})
		return nil
	})
	err := r.setLink(netlink.Create|netlink.Excl, linkFlags{}, attributes)
	if errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("%w (or an interface %s is there)", ErrCompanionTaken, name)
	}
	if err != nil {
		return nil, explain(err, "create the companion device %s", name)
	}
	made, err := r.linkByName(name)
	if err != nil || made == nil {
		return nil, errors.Join(err, fmt.Errorf("the new companion device %s is gone already", name))
	}
	return made, nil
}

// removeUnusedCompanion removes our companion when no device has the program that sends by it.
func removeUnusedCompanion() error {
	r, err := openRequests()
	if err != nil {
		return err
	}
	defer r.close()
	companion, err := findCompanion(r)
	if err != nil || companion == nil || companion.alias != companionAlias {
		return err
	}
	all, err := r.greLinks()
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.kind != kindGRE || l.external {
			continue
		}
		used, err := hasEgressProgram(l.name)
		if used || err != nil {
			return err
		}
	}
	if err := r.deleteLink(companion.index); err != nil && !errors.Is(err, unix.ENODEV) {
		return explain(err, "remove the companion device %s", companion.name)
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
