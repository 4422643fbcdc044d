package tunnel

import (
	"context"
	"net/netip"
	"slices"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"

	"golang.org/x/sys/unix"
)

// listenGuard starts to listen to changes of IPsec policies. It returns a nil channel for a tunnel
// that is not protected and so has no guard.
func (t *Tunnel) listenGuard(ctx context.Context) (<-chan rtnl.Notice, error) {
	if !t.cfg.Protected {
		return nil, nil
	}
	return xfrm.ListenPolicies(ctx, t.log)
}

// mayFront reports whether a notification may mean that the front guard can be set now: that the
// last SA is gone whose policy would come behind it.
func (t *Tunnel) mayFront(n rtnl.Notice) bool {
	if !t.cfg.Front || t.front {
		return false
	}
	return slices.ContainsFunc(n.Messages, xfrm.GREPolicyGone)
}

// ensureFront sets or removes the front guard (xfrm.EnsureFront), and logs when that changes.
func (t *Tunnel) ensureFront(local netip.Addr) error {
	front, err := xfrm.EnsureFront(local, t.cfg.Front)
	if err != nil {
		return err
	}
	if t.cfg.Front && front != t.front {
		if front {
			t.log.Info("the guard is in front of the IPsec policies of other programs",
				"local", local, "priority", xfrm.GuardFront)
		} else if t.ready {
			t.log.Info("the guard steps back for SAs whose policies have no priority of ours",
				"local", local, "priority", xfrm.GuardPriority)
		}
	}
	t.front = front
	return nil
}

// listen delivers notifications of links and addresses until ctx ends; see rtnl.Listen.
func (t *Tunnel) listen(ctx context.Context) (<-chan rtnl.Notice, error) {
	return rtnl.Listen(ctx, t.log, rtnl.MonitorConfig{
		Family: unix.NETLINK_ROUTE,
		Groups: []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR},
	})
}

// concerns reports whether a notification may concern the tunnel: it is about the link of the
// tunnel, of its underlay, of its VRF or of the device that the tunnel is bound to, or about any
// address, or notifications were lost.
func (t *Tunnel) concerns(n rtnl.Notice) bool {
	if n.Lost {
		return true
	}
	for _, m := range n.Messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			if l, ok := rtnl.ParseLink(m); ok && (l.Name == t.cfg.Name ||
				l.Name == *t.underlay.Load() ||
				l.Name == t.cfg.VRF ||
				l.Name == t.bound ||
				l.Name == t.cfg.Master ||
				l.Index == t.state.Index) {
				return true
			}
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			return true
		}
	}
	return false
}
