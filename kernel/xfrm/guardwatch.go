package xfrm

import (
	"context"
	"cygnet/kernel/rtnl"
	"log/slog"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	groupXFRMPolicy = 4 // XFRMNLGRP_POLICY

	xfrmNewPolicy   = 0x13
	xfrmDelPolicy   = 0x14
	xfrmUpdPolicy   = 0x19
	xfrmFlushPolicy = 0x1d

	selectorLen      = 56 // struct xfrm_selector
	selectorProtocol = 44
)

// ListenPolicies delivers notifications of IPsec policies until ctx ends; see rtnl.Listen.
func ListenPolicies(ctx context.Context, log *slog.Logger) (<-chan rtnl.Notice, error) {
	return rtnl.Listen(ctx, log, rtnl.MonitorConfig{
		Family: unix.NETLINK_XFRM, Groups: []uint32{groupXFRMPolicy},
	})
}

// GREPolicyGone reports whether a notification says that a policy for GRE, or for all protocols,
// was deleted.
func GREPolicyGone(m netlink.Message) bool {
	return m.Header.Type == xfrmDelPolicy && len(m.Data) >= selectorLen &&
		(m.Data[selectorProtocol] == unix.IPPROTO_GRE || m.Data[selectorProtocol] == 0)
}

// GuardTouched reports whether a notification of IPsec policies may be about a guard. This is so if
// all policies are gone, if a policy for GRE between an address and all others changed, if a policy
// was deleted that the notification names only by its index, or if a new policy of an SA comes
// behind the front guard.
func GuardTouched(n rtnl.Notice) bool {
	if n.Lost {
		return true
	}
	for _, m := range n.Messages {
		switch m.Header.Type {
		case xfrmFlushPolicy:
			return true
		case xfrmDelPolicy, xfrmNewPolicy, xfrmUpdPolicy:
			if len(m.Data) < selectorLen {
				continue
			}
			protocol := m.Data[selectorProtocol]
			if protocol != unix.IPPROTO_GRE && protocol != 0 {
				continue
			}
			// Each policy of the front guard has a prefix of one bit.
			wide := m.Data[selectorPrefixDst] <= 1 || m.Data[selectorPrefixSrc] <= 1
			if wide || m.Header.Type != xfrmDelPolicy && behindFront(m.Data) {
				return true
			}
		}
	}
	return false
}

// behindFront reports whether a new policy is that of an SA whose packets the front guard would
// block.
func behindFront(b []byte) bool {
	p, ok := parsePolicy(b)
	return ok && p.demands && p.priority >= GuardFront
}
