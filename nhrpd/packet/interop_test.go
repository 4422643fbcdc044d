package packet

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// openNHRPError is an authentication failure as OpenNHRP 0.14.1 reports it: the refused
// registration is quoted whole, and 16 zero bytes follow the End extension.
const openNHRPError = `
	0001 0800 0000000000 ff 008e 9495 007a 01 07 04 00
	04 04 0000 000b 0040 c0000201 0aff0001 0aff000b
	0001 0800 0000000000 ff 0052 50f7 0034 01 03 04 00   # the packet in error
	04 04 0002 00000007 c000020b 0aff000b 0aff0001
	00 20 0000 0578 0258 00 00 00 00
	8003 0000 8004 0000 8005 0000 8007 000a 00000001 736563726574 8000 0000
	8000 0000
	00000000 00000000 00000000 00000000`

// frrIPv6Reply is FRR's answer to a registration where the hub's tunnel has addresses of both
// families: the Responder extension names the hub by its IPv4 overlay address.
const frrIPv6Reply = `
	0001 86dd 0000000000 40 0078 0000 004c 01 04 04 00
	10 10 0002 00000005 c000020b
	20010db800ff0000000000000000000b
	20010db800ff00000000000000000001
	00 80 0000 0000 0258 00 00 00 00
	8003 0014  00 00 0000 0578 0258 04 00 04 00 c0000201 0aff0001
	8004 0000
	8005 0000
	0009 0000
	8000 0000`

// Parse ignores bytes after the End extension, and Append writes them again when the packet is
// forwarded.
func TestBytesAfterEndAreIgnored(t *testing.T) {
	b := unhex(t, openNHRPError)
	var got Packet
	if err := got.Parse(b); err != nil {
		t.Fatal(err)
	}
	quoted := b[0x28 : 0x28+0x52]
	want := Packet{Type: ErrorIndication, HopCount: 255, SourceNBMA: addr("192.0.2.1"),
		SourceProtocol: addr("10.255.0.1"),
		DestProtocol:   addr("10.255.0.11"), ErrorCode: ErrorAuthentication, ErrorOffset: 0x40,
		Quoted: quoted}
	if diff := cmp.Diff(want, got, exported); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var request Packet
	if err := request.ParseQuoted(got.Quoted); err != nil || request.RequestID != 7 ||
		request.Type != RegistrationRequest {
		t.Errorf("quoted: %v %d, %v", request.Type, request.RequestID, err)
	}
	again, err := got.Append(nil)
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("append after parse: %v\n got %x\nwant %x", err, again, b)
	}
	// Parse does not read what follows End, so it may be anything.
	for _, rest := range []string{"00", "8003 0000 8000 0000", "8004 ffff"} {
		var p Packet
		if err := p.Parse(seal(append(bytes.Clone(b[:0x7e]), unhex(t, rest)...))); err != nil {
			t.Errorf("%s after End: %v", rest, err)
		}
	}
}

// In a record of the routers on the way, an address that is not of the packet's family counts as
// absent. Everything else in the packet is read, and a transit NHS forwards the record as it came.
func TestRecordsOfAnotherFamily(t *testing.T) {
	responder := func(c CIE) []Extension {
		return []Extension{{Type: ExtensionResponder, Compulsory: true, CIEs: []CIE{c}},
			{Type: ExtensionForwardTransit, Compulsory: true}, {
				Type: ExtensionReverseTransit, Compulsory: true,
			}, {Type: ExtensionNATAddress}}
	}
	whole := unhex(t, frrIPv6Reply)
	for _, tt := range []struct {
		name   string
		record string // the CIE of the Responder extension
		want   CIE
	}{
		{"IPv4 in an IPv6 overlay", "00 00 0000 0578 0258 04 00 04 00 c0000201 0aff0001",
			CIE{MTU: 1400, HoldingTime: 600, NBMA: addr("192.0.2.1")}},
		{"of no family", "00 00 0000 0578 0258 04 00 06 00 c0000201 0aff00010203",
			CIE{MTU: 1400, HoldingTime: 600, NBMA: addr("192.0.2.1")}},
		{"IPv6 NBMA address over IPv4", "00 00 0000 0578 0258 10 00 10 00 20010db8000000000000000000000001 20010db800ff00000000000000000001",
			CIE{MTU: 1400, HoldingTime: 600, Protocol: addr("2001:db8:ff::1")}},
		{"with a subaddress", "00 00 0000 0578 0258 05 02 04 00 c000020101 abcd 0aff0001",
			CIE{MTU: 1400, HoldingTime: 600, NBMASubaddress: []byte{0xab, 0xcd}}},
	} {
		record := unhex(t, tt.record)
		b := append(bytes.Clone(whole[:0x4c]), 0x80, 3, 0, byte(len(record)))
		b = seal(append(append(b, record...),
			unhex(t, "8004 0000 8005 0000 0009 0000 8000 0000")...))
		var got Packet
		if err := got.Parse(b); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		want := Packet{Type: RegistrationReply, HopCount: 64, Flags: FlagNAT, RequestID: 5,
			SourceNBMA:     addr("192.0.2.11"),
			SourceProtocol: addr("2001:db8:ff::b"), DestProtocol: addr("2001:db8:ff::1"),
			CIEs: []CIE{{PrefixLength: 128, HoldingTime: 600}}, Extensions: responder(tt.want)}
		if diff := cmp.Diff(want, got, exported); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if again, err := got.Append(nil); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: append after parse: %v\n got %x\nwant %x", tt.name, err, again, b)
		}
	}
}

// Where addresses decide where something is sent, they must be of the packet's families. Otherwise
// Parse refuses the packet.
func TestOtherFamiliesElsewhereAreRefused(t *testing.T) {
	for name, hex := range map[string]string{
		"a CIE of the mandatory part": `
			0001 86dd 0000000000 40 0000 0000 0000 01 04 04 00 10 10 0002 00000005 c000020b
			20010db800ff0000000000000000000b 20010db800ff00000000000000000001
			00 80 0000 0000 0258 00 00 04 00 0aff000b`,
		"the NAT address extension": `
			0001 86dd 0000000000 40 0000 0000 0040 01 04 04 00 10 10 0002 00000005 c000020b
			20010db800ff0000000000000000000b 20010db800ff00000000000000000001
			0009 0014  00 20 0000 0000 0000 04 00 04 00 c0000232 0aff000b 8000 0000`,
	} {
		var p Packet
		if err := p.Parse(seal(unhex(t, hex))); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	// No address in a record reaches beyond the end of its extension.
	b := append(unhex(t, frrIPv6Reply)[:0x4c], unhex(t, "8003 0014  00 00 0000 0578 0258 04 00 06 00 c0000201 0aff0001 8000 0000")...)
	var p Packet
	if err := p.Parse(seal(b)); err == nil {
		t.Error("an address that ends after its extension is taken")
	}
}
