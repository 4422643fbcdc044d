package packet

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// seal writes b's packet size and checksum into b.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint16(b[offSize:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[offChecksum:], 0)
	binary.BigEndian.PutUint16(b[offChecksum:], checksum(b))
	return b
}

// Each row damages the first golden packet. Its CIE is at 0x28; its extensions 3, 4, 5 and 9 are at
// 0x34, 0x38, 0x3c and 0x40, with the CIE of the last at 0x44; its End extension is at 0x58. Code
// and offset are those of RFC 2332 §5.2.7.
func TestMalformed(t *testing.T) {
	set := func(offset int, values ...byte) func([]byte) []byte {
		return func(b []byte) []byte {
			copy(b[offset:], values)
			return seal(b)
		}
	}
	cut := func(n int) func([]byte) []byte {
		return func(b []byte) []byte { return seal(b[:n]) }
	}
	withExtensions := func(hex string) func([]byte) []byte {
		return func(b []byte) []byte { return seal(append(b[:0x34], unhex(t, hex)...)) }
	}
	tests := []struct {
		name   string
		damage func([]byte) []byte
		code   ErrorCode
		offset uint16
		field  string
		silent bool
	}{
		{"nothing", func([]byte) []byte { return nil }, ErrorProtocol, 0, "length of the packet",
			true},
		{"shorter than the header", func(b []byte) []byte { return b[:27] }, ErrorProtocol, 27,
			"length of the packet", true},
		{"shorter than its size", func(b []byte) []byte { return b[:91] }, ErrorProtocol, 10,
			"packet size", true},
		{"size smaller than the header", func(b []byte) []byte { b[11] = 27; return b },
			ErrorProtocol, 10, "packet size", true},
		{"checksum", func(b []byte) []byte { b[12] ^= 1; return b }, ErrorProtocol, 12, "checksum",
			true},
		{"another byte than at the sender", func(b []byte) []byte { b[0x20] ^= 1; return b },
			ErrorProtocol, 12, "checksum", true},
		{"an error indication", func(b []byte) []byte { b[0x11] = 7; b[1] = 9; return seal(b) },
			ErrorProtocol, 0, "address family", true},
		{"an error indication of another version", func(b []byte) []byte {
			b[0x11] = 7
			b[0x10] = 2
			return seal(b)
		}, ErrorProtocol, 0x10, "version", true},

		{"address family", set(0, 0, 3), ErrorProtocol, 0, "address family", false},
		{"long form of the protocol type", set(2, 0, 0x80, 0, 0, 0, 8, 0), ErrorProtocol, 2,
			"protocol type", false},
		{"extension offset within the header", set(0x0e, 0, 27), ErrorProtocol, 0x0e, "extension offset", false},
		{"extension offset within the addresses", set(0x0e, 0, 0x27), ErrorProtocol, 0x12, "length of the header's addresses", false},
		{"extension offset within a CIE", set(0x0e, 0, 0x33), ErrorProtocol, 0x28,
			"length of a CIE", false},
		{"extension offset without room for End", set(0x0e, 0, 89), ErrorProtocol, 0x0e, "extension offset", false},
		{"extension offset after the packet", set(0x0e, 0xff, 0xff), ErrorProtocol, 0x0e, "extension offset", false},
		{"version of MARS", set(0x10, 0), ErrorProtocol, 0x10, "version", false},
		{"type 0", set(0x11, 0), ErrorProtocol, 0x11, "message type", false},
		{"type 9", set(0x11, 9), ErrorProtocol, 0x11, "message type", false},
		{"source NBMA address of the other family", set(0x12, 16), ErrorProtocol, 0x12, "source NBMA address length", false},
		{"source NBMA address with the reserved bit", set(0x12, 0x84), ErrorProtocol, 0x12,
			"source NBMA address length", false},
		{"source NBMA address in E.164 format", set(0x12, 0x44), ErrorProtocol, 0x12, "source NBMA address length", false},
		{"source NBMA subaddress with the reserved bit", set(0x13, 0x80), ErrorProtocol, 0x13,
			"source NBMA subaddress length", false},
		{"source NBMA subaddress in E.164 format", set(0x13, 0x41), ErrorProtocol, 0x13, "source NBMA subaddress length", false},
		{"source NBMA subaddress longer than the mandatory part", set(0x13, 0x3f), ErrorProtocol,
			0x12, "length of the header's addresses", false},
		{"source protocol address of the other family", set(0x14, 16), ErrorProtocol, 0x14,
			"source protocol address length", false},
		{"destination protocol address of odd length", set(0x15, 5), ErrorProtocol, 0x15, "destination protocol address length", false},

		{"CIE with an address of the other family", set(0x30, 16), ErrorProtocol, 0x30, "client NBMA address length", false},
		{"CIE with an address beyond the mandatory part", set(0x30, 4), ErrorProtocol, 0x30,
			"length of a CIE's addresses", false},
		{"CIE with a subaddress in E.164 format", set(0x31, 0x44), ErrorProtocol, 0x31, "client NBMA subaddress length", false},
		{"CIE with a protocol address of the other family", set(0x32, 16), ErrorProtocol, 0x32,
			"client protocol address length", false},
		{"second CIE cut off", func(b []byte) []byte {
			b[0x0e], b[0x0f] = 0, 0
			return seal(b[:0x34+11])
		}, ErrorProtocol, 0x34, "length of a CIE", false},

		{"End missing", cut(0x58), ErrorProtocol, 0x58, "length of an extension", false},
		{"End cut off", cut(0x5b), ErrorProtocol, 0x58, "length of an extension", false},
		{"End with a value", withExtensions("8000 0001 00"), ErrorProtocol, 0x36, "length of the End extension", false},
		{"extension longer than the packet", withExtensions("0008 0005 00000c01"), ErrorProtocol,
			0x36, "extension length", false},
		{"extension claims 65535 bytes", withExtensions("8004 ffff"), ErrorProtocol, 0x36, "extension length", false},
		{"CIE in an extension cut off", withExtensions("0009 0004 00000000 8000 0000"),
			ErrorProtocol, 0x38, "length of a CIE", false},
		{"CIE in an extension with an address beyond it", set(0x44+9, 1), ErrorProtocol, 0x4c,
			"length of a CIE's addresses", false},
		{"CIE in an extension of the other family", set(0x44+8, 16), ErrorProtocol, 0x4c, "client NBMA address length", false},
		{"two transit records (§5.3: once)", withExtensions("8004 0000 8004 0000 8000 0000"),
			ErrorInvalidExtension, 0x38, "extension type", false},
		{"two passwords (§5.3: once)", withExtensions("8007 0004 00000001 0007 0000 8000 0000"),
			ErrorInvalidExtension, 0x3c, "extension type", false},
		{"two NAT addresses (§5.3: once)", withExtensions("0009 0000 0009 0000 8000 0000"),
			ErrorInvalidExtension, 0x38, "extension type", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var p Packet
			err := p.Parse(test.damage(unhex(t, golden[0].hex)))
			var fault *ParseError
			if !errors.As(err, &fault) {
				t.Fatalf("error %v, want a *ParseError", err)
			}
			if fault.Code != test.code || fault.Offset != test.offset || fault.Field != test.field {
				t.Errorf("%v (%v), want %v of the %s at offset %d",
					err, fault.Code, test.code, test.field, test.offset)
			}
			if fault.Answerable() == test.silent {
				t.Errorf("answerable is %v", fault.Answerable())
			}
		})
	}
}

// After an error, the packet still holds the addresses to which an Error Indication is sent.
func TestMalformedPacketKeepsItsAddresses(t *testing.T) {
	b := unhex(t, golden[0].hex)
	b[0x43]++ // the length of the NAT address extension
	var p Packet
	if err := p.Parse(seal(b)); err == nil {
		t.Fatal("no error")
	}
	want := golden[0].want
	if p.Type != want.Type || p.SourceNBMA != want.SourceNBMA ||
		p.SourceProtocol != want.SourceProtocol {
		t.Errorf("%v from %v, %v", p.Type, p.SourceNBMA, p.SourceProtocol)
	}
}

// The error text names the field, the place, the value and what is allowed.
func TestParseErrorText(t *testing.T) {
	b := unhex(t, golden[0].hex)
	b[1] = 3
	var p Packet
	err := p.Parse(seal(b))
	if want := "NHRP address family at offset 0 is 3, must be 1 (IPv4) or 2 (IPv6)"; err == nil ||
		err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// Parse refuses every truncated packet: it never reads beyond the end.
func TestTruncated(t *testing.T) {
	for _, test := range golden {
		whole := unhex(t, test.hex)
		for n := range whole {
			var p Packet
			if err := p.Parse(whole[:n:n]); err == nil {
				t.Errorf("%s: the first %d of %d bytes are taken", test.name, n, len(whole))
			}
		}
	}
}

// Append refuses what the wire format cannot express, and returns dst unchanged.
func TestAppendRefuses(t *testing.T) {
	reply := func(change func(*Packet)) Packet {
		p := Packet{
			Type: ResolutionReply, SourceNBMA: addr("192.0.2.1"),
			SourceProtocol: addr("10.0.0.1"), DestProtocol: addr("10.0.0.2"),
		}
		change(&p)
		return p
	}
	extension := func(e ...Extension) Packet { return reply(func(p *Packet) { p.Extensions = e }) }
	tests := []struct {
		name string
		p    Packet
		want string
	}{
		{"no type", reply(func(p *Packet) { p.Type = 0 }), "encode NHRP message of type 0: no such type of message"},
		{"unknown type", reply(func(p *Packet) { p.Type = 9 }), "no such type of message"},
		{"mixed NBMA families", reply(func(p *Packet) {
			p.CIEs = []CIE{{NBMA: addr("2001:db8::1")}}
		}), "NBMA address 2001:db8::1 is not of the family"},
		{"mixed overlay families", reply(func(p *Packet) { p.DestProtocol = addr("2001:db8::1") }),
			"protocol address 2001:db8::1 is not of the family"},
		{"IPv4-mapped among IPv4", reply(func(p *Packet) { p.CIEs = []CIE{{NBMA: addr("::ffff:192.0.2.1")}} }), "is not of the family"},
		{"mixed families in an extension",
			extension(Extension{
				Type: ExtensionResponder, CIEs: []CIE{{Protocol: addr("2001:db8::1")}},
			}), "is not of the family"},
		{"zone", reply(func(p *Packet) { p.SourceNBMA = addr("fe80::1%eth0") }), "has a zone"},
		{"subaddress", reply(func(p *Packet) { p.SourceSubaddress = make([]byte, 64) }), "64 bytes, more than 63"},
		{"subaddress in a CIE", reply(func(p *Packet) {
			p.CIEs = []CIE{{NBMASubaddress: make([]byte, 64)}}
		}), "64 bytes, more than 63"},
		{"subaddress in an extension",
			extension(Extension{
				Type: ExtensionResponder, CIEs: []CIE{{NBMASubaddress: make([]byte, 64)}},
			}), "responder address extension: client NBMA"},
		{"quoted packet in a reply", reply(func(p *Packet) { p.Quoted = []byte{1} }), "a quoted packet belongs to indications"},
		{"error in a reply", reply(func(p *Packet) { p.ErrorCode = ErrorLoop }), "error code and offset belong to"},
		{"error in a traffic indication", reply(func(p *Packet) {
			p.Type = TrafficIndication
			p.ErrorOffset = 1
		}), "error code and offset belong to"},
		{"request id in an error", reply(func(p *Packet) {
			p.Type = ErrorIndication
			p.RequestID = 1
		}), "indications have no request id"},
		{"CIE in a traffic indication", reply(func(p *Packet) {
			p.Type = TrafficIndication
			p.CIEs = make([]CIE, 1)
		}), "indications have no CIEs"},
		{"End listed", extension(Extension{Compulsory: true}), "the End extension is not to be listed"},
		{"extension type of 15 bits", extension(Extension{Type: 0x4000}), "more than 16383"},
		{"CIEs in a password",
			extension(Extension{Type: ExtensionAuthentication, CIEs: make([]CIE, 1)}), "authentication extension with CIEs"},
		{"data in a transit record",
			extension(Extension{Type: ExtensionForwardTransit, Data: make([]byte, 12)}), "with data instead of CIEs"},
		{"data in a NAT address",
			extension(Extension{Type: ExtensionNATAddress, Data: make([]byte, 12)}), "with data instead of CIEs"},
		{"device capabilities with CIEs",
			extension(Extension{
				Type: ExtensionNATAddress, Data: make([]byte, 8), CIEs: make([]CIE, 1),
			}), "with CIEs"},
		{"two passwords", extension(PasswordExtension("a"), PasswordExtension("b")), "authentication extension more than once"},
		{"too long", extension(Extension{Type: ExtensionVendor, Data: make([]byte, 65536-40-8+1)}),
			"65537 bytes, more than 65535"},
		{"too many CIEs", reply(func(p *Packet) { p.CIEs = make([]CIE, 5460) }), "65560 bytes, more than 65535"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.p.Append([]byte("kept"))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if string(got) != "kept" {
				t.Errorf("dst has become %x", got)
			}
		})
	}
}

// The longest packet has 65535 bytes (RFC 2332 §5.1, 16 bits of ar$pktsz).
func TestLongestPacket(t *testing.T) {
	p := Packet{
		Type: PurgeReply,
		Extensions: []Extension{
			{Type: ExtensionVendor, Data: make([]byte, maxSize-headerLen-2*tlvLen)},
		},
	}
	b, err := p.Append(nil)
	if err != nil || len(b) != maxSize {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	var got Packet
	if err := got.Parse(b); err != nil {
		t.Error(err)
	}
}
