package tunnel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// routingGroups finds the groups of routing protocols on one device, in both of the kernel's
// formats.
func TestRoutingGroups(t *testing.T) {
	host := func(group string) string {
		a := netip.MustParseAddr(group).As4()
		return fmt.Sprintf("%08X", binary.NativeEndian.Uint32(a[:]))
	}
	igmp := "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n" +
		"1\tlo        :     1      V3\n\t\t\t\t" + host("224.0.0.5") + "     1 0:00000000\t\t0\n" +
		"3\tgre1      :     3      V3\n\t\t\t\t" + host("224.0.0.6") + "     1 0:00000000\t\t0\n" +
		"\t\t\t\t" + host("224.0.0.1") + "     1 0:00000000\t\t0\n" +
		"4\tgre10     :     1      V3\n\t\t\t\t" + host("224.0.0.9") + "     1 0:00000000\t\t0\n"
	igmp6 := "1    lo              ff020000000000000000000000000005     1 0000000C 0\n" +
		"3    gre1            ff020000000000000000000000000009     1 00000004 0\n" +
		"3    gre1            ff020000000000000000000000000001     1 0000000C 0\n"
	for name, c := range map[string]struct {
		text string
		want []netip.Addr
	}{
		"IPv4":    {igmp, []netip.Addr{netip.MustParseAddr("224.0.0.6")}},
		"IPv6":    {igmp6, []netip.Addr{netip.MustParseAddr("ff02::9")}},
		"nothing": {"", nil},
		"broken":  {"3\n\t\n3\tgre1\n\t\t\tzz 1\n\t\t\t05 1\n\n3 gre1 ff 2\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, routingGroups(c.text, "gre1"), byValue); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
		})
	}
}

// byValue compares addresses and prefixes by their value.
var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
}
