package packet

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// exported makes cmp compare only the fields that callers see.
var exported = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}),
	cmpopts.EquateEmpty(),
	cmpopts.IgnoreUnexported(Packet{}, CIE{}, Extension{}),
}

// unhex decodes hexadecimal digits. It ignores white space and comments, which begin with # and end
// with the line.
func unhex(tb testing.TB, text string) []byte {
	tb.Helper()
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// golden holds packets written by hand from the layouts of RFC 2332 §5 and from what DMVPN routers
// send.
var golden = []struct {
	name string
	hex  string
	want Packet
}{
	{
		name: "registration request as Cisco sends it",
		hex: `
			0001 0800 0000000000 ff 005c 5818 0034 01 03 04 00
			04 04 8002 00000007 c0a8070b 0aff000b 0aff0001
			00 20 0000 45fc 1c20 00 00 00 00          # CIE without addresses
			8003 0000 8004 0000 8005 0000
			0009 0014  00 20 0000 0000 0000 04 00 04 00 c0000201 0aff0001
			8000 0000`,
		want: Packet{
			Type: RegistrationRequest, HopCount: 255, Flags: RegistrationUnique | FlagNAT,
			RequestID:  7,
			SourceNBMA: addr("192.168.7.11"), SourceProtocol: addr("10.255.0.11"),
			DestProtocol: addr("10.255.0.1"),
			CIEs:         []CIE{{PrefixLength: 32, MTU: 17916, HoldingTime: 7200}},
			Extensions: []Extension{
				{Type: ExtensionResponder, Compulsory: true},
				{Type: ExtensionForwardTransit, Compulsory: true},
				{Type: ExtensionReverseTransit, Compulsory: true},
				{Type: ExtensionNATAddress,
					CIEs: []CIE{{PrefixLength: 32, NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")}}},
			},
		},
	},
	{
		name: "registration reply that refuses, with a password",
		hex: `
			0001 0800 0000000000 ff 004c 92fc 0034 01 04 04 00
			04 04 8000 00000007 c0a8070b 0aff000b 0aff0001
			0e ff 0000 0000 0000 00 00 00 00
			8007 0008 00000001 73776e21               # "swn!"
			0008 0004 00000c 01                       # vendor-private: OUI, data
			8000 0000`,
		want: Packet{
			Type: RegistrationReply, HopCount: 255, Flags: RegistrationUnique, RequestID: 7,
			SourceNBMA: addr("192.168.7.11"), SourceProtocol: addr("10.255.0.11"),
			DestProtocol: addr("10.255.0.1"),
			CIEs:         []CIE{{Code: CodeUniqueRegistered, PrefixLength: 255}},
			Extensions: []Extension{
				{Type: ExtensionAuthentication, Compulsory: true, Data: []byte("\x00\x00\x00\x01swn!")},
				{Type: ExtensionVendor, Data: []byte{0, 0, 0x0c, 1}},
			},
		},
	},
	{
		name: "resolution request, IPv6 overlay over IPv4",
		hex: `
			0001 86dd 0000000000 fe 0084 5fc2 004c 01 01 04 00
			10 10 c802 01020304 c0a8070b
			20010db800ff0000000000000000000b
			20010db8000200000000000000000001
			00 00 0000 0578 012c 00 00 00 00
			8004 0020  00 00 0000 0578 012c 04 00 10 00 c0000201 20010db800ff00000000000000000001
			0009 0008 0000000100000001                # device capabilities of RFC 2735
			0009 0000                                 # NAT address, empty
			8000 0000`,
		want: Packet{
			Type: ResolutionRequest, HopCount: 254, RequestID: 0x01020304,
			Flags: ResolutionRouter | ResolutionAuthoritative |
				ResolutionSourceStable | FlagNAT,
			SourceNBMA: addr("192.168.7.11"), SourceProtocol: addr("2001:db8:ff::b"),
			DestProtocol: addr("2001:db8:2::1"),
			CIEs:         []CIE{{MTU: 1400, HoldingTime: 300}},
			Extensions: []Extension{
				{Type: ExtensionForwardTransit, Compulsory: true, CIEs: []CIE{
					{MTU: 1400, HoldingTime: 300, NBMA: addr("192.0.2.1"), Protocol: addr("2001:db8:ff::1")},
				}},
				{Type: ExtensionNATAddress, Data: []byte{0, 0, 0, 1, 0, 0, 0, 1}},
				{Type: ExtensionNATAddress},
			},
		},
	},
	{
		name: "resolution reply with two CIEs, IPv4 overlay over IPv6",
		hex: `
			0002 0800 0000000000 ff 0074 db5f 0000 01 02 10 00
			04 04 7800 00000009 20010db8000000000000000000000011 0aff000b ac100201
			00 18 0000 0578 012c 10 00 04 0a 20010db8000000000000000000000012 0aff000c
			00 18 0000 0578 012c 10 00 04 05 20010db8000000000000000000000013 0aff000d`,
		want: Packet{
			Type: ResolutionReply, HopCount: 255, RequestID: 9,
			Flags: ResolutionAuthoritative | ResolutionDestStable |
				ResolutionUnique | ResolutionSourceStable,
			SourceNBMA: addr("2001:db8::11"), SourceProtocol: addr("10.255.0.11"),
			DestProtocol: addr("172.16.2.1"),
			CIEs: []CIE{
				{PrefixLength: 24, MTU: 1400, HoldingTime: 300, Preference: 10,
					NBMA: addr("2001:db8::12"), Protocol: addr("10.255.0.12")},
				{PrefixLength: 24, MTU: 1400, HoldingTime: 300, Preference: 5,
					NBMA: addr("2001:db8::13"), Protocol: addr("10.255.0.13")},
			},
		},
	},
	{
		name: "registration request over IPv6 of a client with an IPv4 address too",
		hex: `
			0002 0800 0000000000 ff 0078 2b05 0040 01 03 10 00
			04 04 0002 00000009 20010db8000000000000000000000011 0aff000b 0aff0001
			00 20 0000 0578 0258 00 00 00 00
			8003 0000
			0009 0020  00 20 0000 0000 0000 10 00 04 00 20010db8000000000000000000000001 0aff0001
			0008 0008 024359 05 c000020b              # vendor-private: ours, address
			8000 0000`,
		want: Packet{
			Type: RegistrationRequest, HopCount: 255, RequestID: 9, Flags: FlagNAT,
			SourceNBMA: addr("2001:db8::11"), SourceProtocol: addr("10.255.0.11"),
			DestProtocol: addr("10.255.0.1"),
			CIEs:         []CIE{{PrefixLength: 32, MTU: 1400, HoldingTime: 600}},
			Extensions: []Extension{
				{Type: ExtensionResponder, Compulsory: true},
				{Type: ExtensionNATAddress, CIEs: []CIE{
					{PrefixLength: 32, NBMA: addr("2001:db8::1"), Protocol: addr("10.255.0.1")}}},
				VendorExtension(VendorRequester, addr("192.0.2.11")),
			},
		},
	},
	{
		name: "resolution request over IPv6 of a router with an IPv4 address too",
		hex: `
			0002 0800 0000000000 fe 0080 a248 0040 01 01 10 00
			04 04 c802 0a0b0c0d 20010db8000000000000000000000011 0aff000b ac100201
			00 00 0000 0578 0258 00 00 00 00
			8003 0000
			8004 0020  00 00 0000 0578 0258 10 00 04 00 20010db8000000000000000000000001 0aff0001
			8005 0000 0009 0000
			0008 0008 024359 01 c000020b              # ours: offers probes, address
			8000 0000`,
		want: Packet{
			Type: ResolutionRequest, HopCount: 254, RequestID: 0x0a0b0c0d,
			Flags: ResolutionRouter | ResolutionAuthoritative |
				ResolutionSourceStable | FlagNAT,
			SourceNBMA: addr("2001:db8::11"), SourceProtocol: addr("10.255.0.11"),
			DestProtocol: addr("172.16.2.1"),
			CIEs:         []CIE{{MTU: 1400, HoldingTime: 600}},
			Extensions: []Extension{
				{Type: ExtensionResponder, Compulsory: true},
				{Type: ExtensionForwardTransit, Compulsory: true, CIEs: []CIE{
					{MTU: 1400, HoldingTime: 600, NBMA: addr("2001:db8::1"), Protocol: addr("10.255.0.1")}}},
				{Type: ExtensionReverseTransit, Compulsory: true},
				{Type: ExtensionNATAddress},
				VendorExtension(VendorOffer, addr("192.0.2.11")),
			},
		},
	},
	{
		name: "resolution reply over IPv6 of a router that has IPv4 only",
		hex: `
			0002 0800 0000000000 ff 0094 5c1e 0044 01 02 10 00
			04 04 e802 0a0b0c0d 20010db8000000000000000000000011 0aff000b ac100201
			00 18 0000 0578 0258 00 00 04 00 0aff000c # CIE without an NBMA address
			8003 0010  00 00 0000 0578 0258 00 00 04 00 0aff000c
			8004 0020  00 00 0000 0578 0258 10 00 04 00 20010db8000000000000000000000001 0aff0001
			8005 0000 0009 0000
			0008 0008 024359 02 c000020c              # ours: answers probes, address
			8000 0000`,
		want: Packet{
			Type: ResolutionReply, HopCount: 255, RequestID: 0x0a0b0c0d,
			Flags: ResolutionRouter | ResolutionAuthoritative | ResolutionDestStable |
				ResolutionSourceStable | FlagNAT,
			SourceNBMA: addr("2001:db8::11"), SourceProtocol: addr("10.255.0.11"),
			DestProtocol: addr("172.16.2.1"),
			CIEs: []CIE{
				{PrefixLength: 24, MTU: 1400, HoldingTime: 600, Protocol: addr("10.255.0.12")}},
			Extensions: []Extension{
				{Type: ExtensionResponder, Compulsory: true, CIEs: []CIE{
					{MTU: 1400, HoldingTime: 600, Protocol: addr("10.255.0.12")}}},
				{Type: ExtensionForwardTransit, Compulsory: true, CIEs: []CIE{
					{MTU: 1400, HoldingTime: 600, NBMA: addr("2001:db8::1"), Protocol: addr("10.255.0.1")}}},
				{Type: ExtensionReverseTransit, Compulsory: true},
				{Type: ExtensionNATAddress},
				VendorExtension(VendorAccept, addr("192.0.2.12")),
			},
		},
	},
	{
		name: "purge request without reply, IPv6 overlay over IPv6",
		hex: `
			0002 86dd 0000000000 ff 0068 0d66 0000 01 05 10 00
			10 10 8000 0000000a
			20010db8000000000000000000000012
			20010db800ff0000000000000000000c
			20010db800ff00000000000000000001
			00 30 0000 0000 0000 00 00 10 00
			20010db8000200000000000000000000`,
		want: Packet{
			Type: PurgeRequest, HopCount: 255, Flags: PurgeNoReply, RequestID: 10,
			SourceNBMA: addr("2001:db8::12"), SourceProtocol: addr("2001:db8:ff::c"),
			DestProtocol: addr("2001:db8:ff::1"),
			CIEs:         []CIE{{PrefixLength: 48, Protocol: addr("2001:db8:2::")}},
		},
	},
	{
		name: "purge reply without source NBMA address and CIEs, hop count 0",
		hex: `
			0001 0800 0000000000 00 0024 dcbb 0000 01 06 00 00
			04 04 0000 0000000a 0aff000c 0aff0001`,
		want: Packet{
			Type: PurgeReply, RequestID: 10,
			SourceProtocol: addr("10.255.0.12"), DestProtocol: addr("10.255.0.1"),
		},
	},
	{
		name: "error indication",
		hex: `
			0001 0800 0000000000 ff 0048 bb81 0000 01 07 04 00
			04 04 0000 000b 0034 c0000201 0aff0001 0aff000b
			0001 0800 0000000000 ff 0020 0000 0000 01 03 04 00 04 00 8002 00000007 c0a8070b`,
		want: Packet{
			Type: ErrorIndication, HopCount: 255, ErrorCode: ErrorAuthentication, ErrorOffset: 52,
			SourceNBMA: addr("192.0.2.1"), SourceProtocol: addr("10.255.0.1"), DestProtocol: addr("10.255.0.11"),
			Quoted: []byte("\x00\x01\x08\x00\x00\x00\x00\x00\x00\xff\x00\x20\x00\x00\x00\x00\x01\x03\x04\x00\x04\x00\x80\x02\x00\x00\x00\x07\xc0\xa8\x07\x0b"),
		},
	},
	{
		name: "traffic indication with a password",
		hex: `
			0001 0800 0000000000 ff 004d b6ed 003c 01 08 04 00
			04 04 0000 00000000 c0000201 0aff0001 ac100101
			45 00 0054 ca6f 4000 3f 01 1617 ac100101 ac100201
			8007 0009 00000001 7365637265             # "secre", an odd length
			8000 0000`,
		want: Packet{
			Type: TrafficIndication, HopCount: 255,
			SourceNBMA: addr("192.0.2.1"), SourceProtocol: addr("10.255.0.1"), DestProtocol: addr("172.16.1.1"),
			Quoted: []byte("\x45\x00\x00\x54\xca\x6f\x40\x00\x3f\x01\x16\x17\xac\x10\x01\x01\xac\x10\x02\x01"),
			Extensions: []Extension{
				{Type: ExtensionAuthentication, Compulsory: true, Data: []byte("\x00\x00\x00\x01secre")},
			},
		},
	},
	{
		name: "subaddresses, an unknown extension, a mapped address",
		hex: `
			0002 0800 0000000000 01 0065 ba72 0055 01 03 10 02
			04 00 0000 00000001 00000000000000000000ffffc0000201 5a5b 0aff000b
			00 00 0000 0000 0000 10 03 04 00 00000000000000000000ffffc0000202 010203 0aff000b
			bfff 0008 0102030405060708
			8000 0000`,
		want: Packet{
			Type: RegistrationRequest, HopCount: 1, RequestID: 1,
			SourceNBMA: addr("::ffff:192.0.2.1"), SourceSubaddress: []byte{0x5a, 0x5b},
			SourceProtocol: addr("10.255.0.11"),
			CIEs: []CIE{
				{NBMA: addr("::ffff:192.0.2.2"), NBMASubaddress: []byte{1, 2, 3}, Protocol: addr("10.255.0.11")},
			},
			Extensions: []Extension{
				{Type: 0x3fff, Compulsory: true, Data: []byte{1, 2, 3, 4, 5, 6, 7, 8}},
			},
		},
	},
}

// Parse and Append agree with the layouts of RFC 2332 §5.
func TestGolden(t *testing.T) {
	for _, test := range golden {
		t.Run(test.name, func(t *testing.T) {
			b := unhex(t, test.hex)
			var p Packet
			if err := p.Parse(b); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, p, exported); diff != "" {
				t.Errorf("parse (-want +got):\n%s", diff)
			}
			got, err := test.want.Append([]byte("kept"))
			if err != nil {
				t.Fatal(err)
			}
			if want := append([]byte("kept"), b...); !bytes.Equal(got, want) {
				t.Errorf("append:\n got %x\nwant %x", got, want)
			}
		})
	}
}

// RFC 2332 has a receiver ignore unused fields, reserved forms and bits without meaning. A transit
// NHS forwards them as they came.
func TestIgnoredFieldsArePreserved(t *testing.T) {
	tests := []struct {
		name string
		hex  string
	}{
		{"SNAP next to a short protocol type (§5.1)", `
			0001 0800 0000000800 ff 0024 dbb4 0000 01 06 00 00
			04 04 0000 0000000a 0aff000c 0aff0001`},
		{"format bits of absent addresses (§5.1)", `
			0001 0800 0000000000 ff 0030 5b31 0000 01 05 40 40
			04 04 0000 0000000a 0aff000c 0aff0001
			00 00 0000 0000 0000 40 40 00 00`},
		{"unused field of a CIE (§5.2.0.1)", `
			0001 0800 0000000000 ff 0030 c97d 0000 01 05 00 00
			04 04 0000 0000000a 0aff000c 0aff0001
			00 00 1234 0000 0000 00 00 00 00`},
		{"unused fields of an error indication (§5.2.7)", `
			0001 0800 0000000000 ff 0028 15ba 0000 01 07 04 00
			04 04 ffff 0006 0000 c0000201 0aff000c 0aff0001`},
		{"code and unused fields of a traffic indication", `
			0001 0800 0000000000 ff 0028 ad12 0000 01 08 04 00
			04 04 ffff 12345678 c0000201 0aff000c 0aff0001`},
		{"unused bits of extensions (§5.3)", `
			0001 0800 0000000000 ff 002c 5b8c 0024 01 06 00 00
			04 04 0000 0000000a 0aff000c 0aff0001
			c003 0000 c000 0000`},
		{"End without the compulsory bit (§5.3)", `
			0001 0800 0000000000 ff 0028 db94 0024 01 06 00 00
			04 04 0000 0000000a 0aff000c 0aff0001
			0000 0000`},
		{"extensions part of nothing but End (§5.3)", `
			0001 0800 0000000000 ff 0028 5b94 0024 01 06 00 00
			04 04 0000 0000000a 0aff000c 0aff0001
			8000 0000`},
		{"families that no address shows (§5.1)", `
			0002 86dd 0000000000 ff 001c 76f5 0000 01 06 00 00
			00 00 0000 0000000a`},
		{"the checksum's other zero (RFC 1071)", `
			0001 0800 0000000000 ff 001c ffff 0000 01 06 00 00
			00 00 0000 0000 f5dd`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := unhex(t, test.hex)
			var p Packet
			if err := p.Parse(b); err != nil {
				t.Fatal(err)
			}
			got, err := p.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, b) {
				t.Errorf("append after parse:\n got %x\nwant %x", got, b)
			}
		})
	}
}

// The preserved form of an absent address is dropped once the address is set: a reply is made from
// its request by filling in addresses.
func TestPreservedFormatEndsWithAnAddress(t *testing.T) {
	b := seal(unhex(t, `
		0001 0800 0000000000 ff 0000 0000 0000 01 05 40 40
		04 04 0000 0000000a 0aff000c 0aff0001
		00 00 0000 0000 0000 40 40 00 00`))
	var p Packet
	if err := p.Parse(b); err != nil {
		t.Fatal(err)
	}
	p.SourceNBMA, p.CIEs[0].NBMA = addr("192.0.2.1"), addr("192.0.2.2")
	p.SourceSubaddress, p.CIEs[0].NBMASubaddress = []byte{1}, []byte{2}
	b, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Parse(b); err != nil || p.SourceNBMA != addr("192.0.2.1") ||
		p.CIEs[0].NBMA != addr("192.0.2.2") {
		t.Errorf("%+v, %v", p, err)
	}
}

// The checksum of RFC 1071 §3's example. RFC 2332 §5.1: an odd byte at the end counts as if a zero
// followed it.
func TestChecksum(t *testing.T) {
	tests := []struct {
		hex  string
		want uint16
	}{
		{"", 0xffff},
		{"0001 f203 f4f5 f6f7", 0x220d},
		{"0001 f203 f4f5", 0x1905},
		{"0001 f203 f4", 0x19fa},
		{"ffff ffff ffff ffff 01", 0xfeff},
	}
	for _, test := range tests {
		if got := checksum(unhex(t, test.hex)); got != test.want {
			t.Errorf("checksum of %s is %#04x, want %#04x", test.hex, got, test.want)
		}
	}
}

// Bytes after the packet's own size are padding (RFC 2332 §5.1, ar$pktsz).
func TestPaddingIsIgnored(t *testing.T) {
	for _, test := range golden {
		b := unhex(t, test.hex)
		var p Packet
		if err := p.Parse(append(bytes.Clone(b), 0xde, 0xad, 0xbe)); err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if diff := cmp.Diff(test.want, p, exported); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
