package lab

import "testing"

func TestOutErrors(t *testing.T) {
	const snmp = `Ip: Forwarding DefaultTTL
Ip: 1 64
Icmp: InMsgs InErrors OutMsgs OutErrors OutRateLimitGlobal
Icmp: 11116 0 11067 48 0
IcmpMsg: InType3
IcmpMsg: 1
`
	if n, err := outErrors(snmp); n != 48 || err != nil {
		t.Errorf("%d, %v, want 48", n, err)
	}
	for _, damaged := range []string{"", "Icmp: InMsgs OutErrors\n", "Icmp: InMsgs\nIcmp: 1\n"} {
		if n, err := outErrors(damaged); err == nil {
			t.Errorf("%q: %d, want an error", damaged, n)
		}
	}
}
