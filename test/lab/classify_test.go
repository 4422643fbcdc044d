package lab

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// classify tells every kind of packet from the others. Otherwise the counts of a capture would
// prove nothing.
func TestClassify(t *testing.T) {
	const (
		from, to   = "c000020b", "c0000201"
		ip         = "45000054 00000000 40"
		fragment   = "45000054 00000010 40"
		ports500   = "01f401f4 00200000"
		ports4500  = "11941194 00200000"
		fromNAT    = "04001194 00200000"
		ipv6       = "60000000 0020"
		addresses6 = "20010db8000000000000000000000011 20010db8000000000000000000000001"
	)
	tests := []struct {
		name   string
		proto  uint16
		packet string
		want   Kind
		other  bool // the packet is no IP packet
	}{
		{
			"GRE with key", unix.ETH_P_IP,
			ip + "2f0000" + from + to + "20002001 0000002a",
			GRE, false,
		},
		{
			"a later fragment of GRE", unix.ETH_P_IP,
			fragment + "2f0000" + from + to + "0102030405060708",
			GRE, false,
		},
		{
			"ESP", unix.ETH_P_IP,
			ip + "320000" + from + to + "c1020304 00000001",
			ESP, false,
		},
		{
			"IKE", unix.ETH_P_IP,
			ip + "110000" + from + to + ports500 + "0011223344556677",
			IKE, false,
		},
		{
			"IKE behind NAT, with the non-ESP marker", unix.ETH_P_IP,
			ip + "110000" + from + to + ports4500 + "00000000 0011223344556677",
			IKE, false,
		},
		{
			"ESP in UDP", unix.ETH_P_IP,
			ip + "110000" + from + to + ports4500 + "c1020304 00000001",
			ESPinUDP, false,
		},
		{
			"ESP in UDP from a translated port", unix.ETH_P_IP,
			ip + "110000" + from + to + fromNAT + "c1020304 00000001",
			ESPinUDP, false,
		},
		{
			"NAT keepalive", unix.ETH_P_IP,
			ip + "110000" + from + to + ports4500 + "ff",
			Other, false,
		},
		{
			"ping", unix.ETH_P_IP,
			ip + "010000" + from + to + "08000000",
			Other, false,
		},
		{
			"GRE over IPv6", unix.ETH_P_IPV6,
			ipv6 + "2f40" + addresses6 + "20000800 0000002a",
			GRE, false,
		},
		{
			"ESP over IPv6", unix.ETH_P_IPV6,
			ipv6 + "3240" + addresses6 + "c1020304 00000001",
			ESP, false,
		},
		{
			"a later fragment of GRE over IPv6", unix.ETH_P_IPV6,
			ipv6 + "2c40" + addresses6 + "2f000010 00000001 0102",
			GRE, false,
		},
		{
			"IPv4 options before GRE", unix.ETH_P_IP,
			"46000054 00000000 402f0000" + from + to + "01010100" + "20002001",
			GRE, false,
		},
		{"truncated header", unix.ETH_P_IP, "450000", 0, true},
		{"ARP", unix.ETH_P_ARP, "0001080006040001", 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data, err := hex.DecodeString(strings.ReplaceAll(test.packet, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			p, ok := classify(test.proto, data)
			if ok == test.other || p.Kind != test.want {
				t.Fatalf("classify says %v, %v", p, ok)
			}
			if test.proto == unix.ETH_P_IP && ok && p.Src != netip.MustParseAddr("192.0.2.11") {
				t.Errorf("the source is %s", p.Src)
			}
		})
	}
}

// classify reads from a GRE packet whether it carries NHRP or data.
func TestClassifyGREPayload(t *testing.T) {
	data, _ := hex.DecodeString("4500005400000000402f0000c000020bc0000201200020010000002a")
	if p, _ := classify(unix.ETH_P_IP, data); p.GREProto != 0x2001 {
		t.Fatalf("the payload is of type %#x", p.GREProto)
	}
}

// classify copes with packets of any length and content: every IP packet that it finds has
// addresses.
func FuzzClassify(f *testing.F) {
	f.Add(uint16(unix.ETH_P_IP), []byte{0x45})
	f.Add(uint16(unix.ETH_P_IPV6), make([]byte, 48))
	f.Fuzz(func(t *testing.T, proto uint16, data []byte) {
		if p, ok := classify(proto, data); ok && (!p.Src.IsValid() || !p.Dst.IsValid()) {
			t.Fatalf("an IP packet without addresses: %v", p)
		}
	})
}
