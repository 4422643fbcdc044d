package main

import (
	"encoding/binary"
	"encoding/json"
	"math"

	"cygnet/nhrpd/api"
)

// The numbers of a pcap file: times in nanoseconds, and packets that begin with an IP header.
const (
	pcapNanoseconds = 0xa1b23c4d
	pcapRawIP       = 101

	protocolGRE   = 47
	etherTypeNHRP = 0x2001 // RFC 2332 section 5.1
	ipHeader      = 20
	ip6Header     = 40
	greHeader     = 4
	hopLimit      = 64
)

// pcapHeader returns the header of a pcap file.
func pcapHeader() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, pcapNanoseconds)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, math.MaxUint16)
	return le.AppendUint32(b, pcapRawIP)
}

// pcapRecord returns the record of a packet, behind headers of IP and GRE that are made up: the
// packet that the kernel sent or received has others, such as those of ESP.
func pcapRecord(m *api.Monitored) []byte {
	frame := append(outerHeader(m), m.Data...)
	le := binary.LittleEndian
	b := le.AppendUint32(nil, uint32(m.At.Unix()))
	b = le.AppendUint32(b, uint32(m.At.Nanosecond()))
	b = le.AppendUint32(b, uint32(len(frame)))
	b = le.AppendUint32(b, uint32(len(frame)))
	return append(b, frame...)
}

// outerHeader returns the headers of IP and GRE for a packet.
func outerHeader(m *api.Monitored) []byte {
	source, dest := m.NBMA, m.Local
	if m.Out {
		source, dest = m.Local, m.NBMA
	}
	if !source.IsValid() {
		source = unspecified(dest)
	}
	if !dest.IsValid() {
		dest = unspecified(source)
	}
	payload := greHeader + len(m.Data)
	var b []byte
	if source.Is6() {
		b = make([]byte, ip6Header)
		b[0], b[6], b[7] = 6<<4, protocolGRE, hopLimit
		binary.BigEndian.PutUint16(b[4:], uint16(payload))
		copy(b[8:], source.AsSlice())
		copy(b[24:], dest.AsSlice())
	} else {
		b = make([]byte, ipHeader)
		b[0], b[8], b[9] = 4<<4|ipHeader/4, hopLimit, protocolGRE
		binary.BigEndian.PutUint16(b[2:], uint16(ipHeader+payload))
		copy(b[12:], source.AsSlice())
		copy(b[16:], dest.AsSlice())
		binary.BigEndian.PutUint16(b[10:], checksum(b))
	}
	b = binary.BigEndian.AppendUint16(b, 0)
	return binary.BigEndian.AppendUint16(b, etherTypeNHRP)
}

// checksum returns the checksum of an IPv4 header whose checksum is 0.
func checksum(header []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > math.MaxUint16 {
		sum = sum>>16 + sum&math.MaxUint16
	}
	return ^uint16(sum)
}

// streamJSON writes an object at once, on a line of its own.
func (in *invocation) streamJSON(x any) error { return json.NewEncoder(in.stdout).Encode(x) }
