// Package policymark tells, by the kernel's IPsec policies, which packets come from peers with
// marks.
//
// The kernel may have the SA of such a peer before strongSwan's event about it reaches the daemon's
// loop, and a site's firewall may set the same marks.
package policymark

import (
	"net/netip"
	"time"

	"cygnet/kernel/xfrm"
)

// Two readings of the policies are at least readPause apart, and at least readShare times as long
// as the last reading took. Reading therefore takes about a twentieth of the time at most.
const (
	readPause = time.Second
	readShare = 20
)

// Marks has the policies as they were listed last. Only one goroutine at a time may use it. That is
// to be the one that reads the packets and not the loop, because the kernel takes long to list many
// policies.
type Marks struct {
	list func() (map[netip.Addr]netip.Addr, error)

	outer map[netip.Addr]netip.Addr // as listed last
	next  time.Time                 // when they may be listed again
}

// New returns marks of which none was read yet. list returns the outer addresses of the peers with
// marks, by xfrm.MarkedNBMA; see xfrm.MarkedPeers.
func New(list func() (map[netip.Addr]netip.Addr, error)) *Marks { return &Marks{list: list} }

// Has reports whether the kernel has a policy for the mark of a packet and its outer source. If the
// last list has none, Has lists the policies again. A firewall may mark every packet, so it does
// that only after a pause.
func (m *Marks) Has(now time.Time, mark uint32, source netip.Addr) bool {
	marked := xfrm.MarkedNBMA(mark)
	if !marked.IsValid() || !source.IsValid() {
		return false
	}
	if m.outer[marked] == source {
		return true
	}
	if now.Before(m.next) {
		return false
	}
	begun := time.Now()
	all, err := m.list()
	if err != nil {
		all = nil
	}
	m.outer = all
	m.next = now.Add(max(readPause, readShare*time.Since(begun)))
	return all[marked] == source
}
