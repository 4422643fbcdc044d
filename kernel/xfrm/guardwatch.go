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

// ListenPolicies opens a monitor of IPsec policies, trying again until ctx ends.
func ListenPolicies(ctx context.Context, log *slog.Logger) (<-chan rtnl.Notice, error) {
	return rtnl.Listen(ctx, log, rtnl.MonitorConfig{
		Family: unix.NETLINK_XFRM, Groups: []uint32{groupXFRMPolicy},
	})
}

// GREPolicyGone reports whether a notification is that of a policy which covered GRE and was
// deleted.
func GREPolicyGone(m netlink.Message) bool {
	return m.Header.Type == xfrmDelPolicy && len(m.Data) >= selectorLen &&
		(m.Data[selectorProtocol] == unix.IPPROTO_GRE || m.Data[selectorProtocol] == 0)
}

// GuardTouched says whether a notification of IPsec policies may be about a guard: all are gone, or
// one between an address and all others for GRE changed, or one that the notification only names by
// its index.
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
			// The halves of the front guard have prefixes of one bit.
			wide := m.Data[selectorPrefixDst] <= 1 || m.Data[selectorPrefixSrc] <= 1
			if wide || m.Header.Type != xfrmDelPolicy && behindFront(m.Data) {
				return true
			}
		}
	}
	return false
}

// behindFront reports whether a new policy is that of an SA which the front guard would cut off.
func behindFront(b []byte) bool {
	p, ok := parsePolicy(b)
	return ok && p.demands && p.priority >= GuardFront
}
