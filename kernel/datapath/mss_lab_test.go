//go:build lab

package datapath

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/nhrpsocket"
)

// The flags of a TCP header.
const (
	flagSYN = 0x02
	flagACK = 0x10
)

// segment is a TCP segment in an IP packet.
type segment struct {
	from, to string
	flags    byte
	options  []byte // a multiple of 4
	data     string
	header   []byte // options of the IPv4 header, or an extension header of IPv6
	fragment uint16 // of the IPv4 header: flags and offset
	protocol byte   // 0: TCP
	offset   byte   // the length that the TCP header states, in words; 0: as it is
}

// words pads TCP options with the end of the list to whole words.
func words(options ...byte) []byte {
	return append(options, make([]byte, -len(options)&3)...)
}

// ipHeader returns the length of the packet's IP header, with what is in front of TCP.
func (s *segment) ipHeader() int {
	if kerneltest.EtherType(s.packet(nil)) == 0x86dd {
		return 40 + len(s.header)
	}
	return 20 + len(s.header)
}

// packet returns the packet, with other options if they are not nil, and with the right checksums.
func (s *segment) packet(options []byte) []byte {
	if options == nil {
		options = s.options
	}
	length := 20 + len(options) + len(s.data) + len(s.header)
	base := kerneltest.Datagram(s.from, s.to, 40)
	header := 20
	if base[0]>>4 == 6 {
		header = 40
	}
	b := kerneltest.Datagram(s.from, s.to, header+length)
	protocol := max(s.protocol, 6)
	tcp := b[header+len(s.header):]
	copy(b[header:], s.header)
	if header == 40 {
		b[6] = protocol
		if len(s.header) > 0 {
			b[6], b[40] = 60, protocol // destination options
		}
	} else {
		b[0] = 0x45 + byte(len(s.header)/4)
		binary.BigEndian.PutUint16(b[6:], s.fragment)
		b[9] = protocol
		binary.BigEndian.PutUint16(b[10:], 0)
		binary.BigEndian.PutUint16(b[10:], checksum(0, b[:header+len(s.header)]))
	}
	clear(tcp)
	binary.BigEndian.PutUint32(tcp, 40000<<16|80)
	tcp[12], tcp[13] = byte(20+len(options))<<2, s.flags
	if s.offset != 0 {
		tcp[12] = s.offset << 4
	}
	copy(tcp[20:], options)
	copy(tcp[20+len(options):], s.data)
	pseudo := uint32(6) + uint32(len(tcp))
	addresses := b[12:20]
	if header == 40 {
		addresses = b[8:40]
	}
	for i := 0; i < len(addresses); i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(addresses[i:]))
	}
	binary.BigEndian.PutUint16(tcp[16:], checksum(pseudo, tcp))
	return b
}

// checksum returns the checksum of b (RFC 1071), with a sum to begin with.
func checksum(sum uint32, b []byte) uint16 {
	for i, x := range b {
		sum += uint32(x) << (8 * (1 - i&1))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// The programs lower the maximum segment size in the first packets of TCP connections to what the
// configuration says, at ingress and at egress, and the checksum is right afterwards. They change
// nothing else, and no packet that is not whole, has no such option, or is damaged.
func TestSegmentSizeIsLowered(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, _ := watchRedirects(t, Config{
		Device: "gre1",
		Index:  gre.Attrs().Index,
		Mode:   ModeEBPF,
		MSS:    MSS{IPv4: 1360, IPv6: 1340},
	})
	mss := func(n int) []byte { return []byte{2, 4, byte(n >> 8), byte(n)} }
	nops := bytes.Repeat([]byte{1}, 36)
	stamps := append([]byte{4, 2, 8, 10}, make([]byte, 8)...)
	lowered := uint64(0)
	for _, test := range []struct {
		name string
		segment
		want4, want6 []byte // the options that arrive; nil: as they were
	}{
		{"SYN", segment{flags: flagSYN, options: mss(1460)}, mss(1360), mss(1340)},
		{"SYN and ACK", segment{flags: flagSYN | flagACK, options: mss(1460)},
			mss(1360), mss(1340)},
		{"the largest", segment{flags: flagSYN, options: mss(65535)}, mss(1360), mss(1340)},
		{"an odd place", segment{flags: flagSYN, options: words(1, 2, 4, 0x05, 0xb4)},
			words(1, 2, 4, 0x05, 0x50), words(1, 2, 4, 0x05, 0x3c)},
		{"behind others", segment{flags: flagSYN, options: slices.Concat(stamps, mss(1460))},
			slices.Concat(stamps, mss(1360)), slices.Concat(stamps, mss(1340))},
		{"at the end", segment{flags: flagSYN, options: slices.Concat(nops, mss(1460))},
			slices.Concat(nops, mss(1360)), slices.Concat(nops, mss(1340))},
		{"with odd data", segment{flags: flagSYN, options: mss(1460), data: "abc"},
			mss(1360), mss(1340)},
		{"as much as fits", segment{flags: flagSYN, options: mss(1340)}, nil, nil},
		{"less", segment{flags: flagSYN, options: mss(536)}, nil, nil},
		{"no options", segment{flags: flagSYN}, nil, nil},
		{"no SYN", segment{flags: flagACK, options: mss(1460), data: "abc"}, nil, nil},
		{"behind the end", segment{flags: flagSYN, options: append(words(0), mss(1460)...)},
			nil, nil},
		{"a wrong length", segment{flags: flagSYN, options: words(2, 5, 0x05, 0xb4, 0)}, nil, nil},
		{"no length", segment{flags: flagSYN, options: append(words(9, 0), mss(1460)...)},
			nil, nil},
		{"cut short", segment{flags: flagSYN, options: []byte{1, 2, 4, 0x05}}, nil, nil},
		{"beyond the header", segment{flags: flagSYN, options: append([]byte{9, 200, 0, 0},
			mss(1460)...)}, nil, nil},
		{"beyond the packet", segment{flags: flagSYN, options: mss(1460), offset: 15}, nil, nil},
		{"no TCP header", segment{flags: flagSYN, options: mss(1460), offset: 4}, nil, nil},
		{"UDP", segment{flags: flagSYN, options: mss(1460), protocol: 17}, nil, nil},
	} {
		for _, family := range []struct {
			hub, from, to string
			want          []byte
		}{
			{"10.255.0.1", "172.16.11.5", "172.16.12.5", test.want4},
			{"fd00:255::1", "fd00:11::5", "fd00:12::5", test.want6},
		} {
			test.from, test.to = family.from, family.to
			passesAs(t, test.name, &test.segment, family.want)
			if family.want != nil {
				lowered += 2 // once by each way
			}
		}
	}
	for name, test := range map[string]struct {
		segment
		want []byte
	}{
		"IPv4 options": {segment{header: []byte{1, 1, 1, 0}}, mss(1360)},
		"a fragment":   {segment{fragment: 0x2000}, nil},
		"the last one": {segment{fragment: 1}, nil},
	} {
		test.from, test.to, test.flags = "172.16.11.5", "172.16.12.5", flagSYN
		test.options = mss(1460)
		passesAs(t, name, &test.segment, test.want)
		if test.want != nil {
			lowered += 2
		}
	}
	extended := segment{from: "fd00:11::5", to: "fd00:12::5", flags: flagSYN, options: mss(1460),
		header: []byte{0, 0, 1, 4, 0, 0, 0, 0}}
	passesAs(t, "an extension header", &extended, nil)
	st, err := s.Stats()
	if err != nil || st.MSSLowered != lowered {
		t.Errorf("counted %d, want %d: %v", st.MSSLowered, lowered, err)
	}
}

// passesAs sends a segment from one spoke to the other through the hub, whose program at ingress
// sees it first, and from the hub itself, where only the one at egress does. It checks that the
// segment arrives with the options want, or unchanged if want is nil.
func passesAs(t *testing.T, name string, s *segment, want []byte) {
	t.Helper()
	packet, expected := s.packet(nil), s.packet(want)
	kind := kerneltest.EtherType(packet)
	arrivals := openSocket(t, kerneltest.Spoke2, "gre1", kind)
	for at, to := range map[string]string{kerneltest.Spoke1: "ingress", "": "egress"} {
		receiver := kerneltest.HubNBMA
		if at == "" {
			receiver = kerneltest.Spoke2NBMA
		}
		sendFrom(t, openSocket(t, at, "gre1", kind), receiver, packet)
		ms := make([]nhrpsocket.Message, 1)
		if _, err := arrivals.ReadBatch(ms); err != nil {
			t.Fatalf("%s, at %s: %v", name, to, err)
		}
		header := s.ipHeader()
		if got := ms[0].Data; !bytes.Equal(got[header:], expected[header:]) {
			t.Errorf("%s, at %s: %x arrived, want %x", name, to, got[header:], expected[header:])
		}
	}
}
