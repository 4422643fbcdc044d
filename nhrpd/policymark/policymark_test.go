package policymark

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"cygnet/kernel/xfrm"
)

// A firewall that marks every packet does not make the daemon read the kernel's policies all the
// time. The next reading still finds a new SA.
func TestMarksOfAFirewallCostLittle(t *testing.T) {
	nat, reads := netip.MustParseAddr("203.0.113.9"), 0
	policies := New(func() (map[netip.Addr]netip.Addr, error) {
		reads++
		return map[netip.Addr]netip.Addr{xfrm.MarkedNBMA(1): nat, xfrm.MarkedNBMA(2): nat}, nil
	})
	now := time.Now()
	for i := range 5000 {
		from := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		policies.Has(now.Add(time.Duration(i)*time.Millisecond/10), 7, from)
	}
	if reads != 1 {
		t.Errorf("the policies were listed %d times in half a second, want once", reads)
	}
	late := netip.MustParseAddr("203.0.113.10")
	policies.list = func() (map[netip.Addr]netip.Addr, error) {
		return map[netip.Addr]netip.Addr{xfrm.MarkedNBMA(7): late}, nil
	}
	if !policies.Has(now.Add(time.Hour), 7, late) {
		t.Error("the new router's policy is not found")
	}
	policies.list = func() (map[netip.Addr]netip.Addr, error) {
		return nil, errors.New("no policies")
	}
	if policies.Has(now.Add(2*time.Hour), 8, late) {
		t.Error("a policy is found, though none can be listed")
	}
}
