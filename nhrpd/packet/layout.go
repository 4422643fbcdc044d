package packet

import "encoding/binary"

// Offsets of the fields of the fixed header and of the fields that begin every mandatory part.
const (
	offFamily      = 0x00
	offProtocol    = 0x02
	offSNAP        = 0x04
	offHopCount    = 0x09
	offSize        = 0x0a
	offChecksum    = 0x0c
	offExtensions  = 0x0e
	offVersion     = 0x10
	offType        = 0x11
	offSourceLen   = 0x12
	offSubLen      = 0x13
	offSrcProtoLen = 0x14
	offDstProtoLen = 0x15
	offFlags       = 0x16
	offRequestID   = 0x18
	offErrorCode   = 0x18
	offErrorOffset = 0x1a

	headerLen = 0x1c // length of everything before the first address
	cieLen    = 0x0c // length of a CIE without addresses
	tlvLen    = 4    // length of an extension without a value

	maxSize       = 0xffff
	maxSubaddress = 0x3f // the length field has six bits
)

// Values of the fixed header's fields, and bits of type/length fields and of extension types.
const (
	familyIPv4   = 1
	familyIPv6   = 2
	protocolIPv4 = 0x0800
	protocolIPv6 = 0x86dd
	version      = 1

	lenReserved = 0x80
	lenFormat   = 0x40
	lenMask     = 0x3f

	extCompulsory = 0x8000
	extUnused     = 0x4000
	extTypeMask   = 0x3fff
)

// deviceCapabilities is the length of the value that RFC 2735 defines for the type that the NAT
// address extension has as well.
const deviceCapabilities = 8

// hasCIEs reports whether an extension of type t with a value of n bytes is a list of CIEs.
func (t ExtensionType) hasCIEs(n int) bool {
	return t.isRecord() || t == ExtensionNATAddress && n != deviceCapabilities
}

// isRecord reports whether an extension of type t lists the routers that handled a packet. Such a
// record only informs: no address in it decides where anything is sent.
func (t ExtensionType) isRecord() bool {
	return t == ExtensionResponder || t == ExtensionForwardTransit || t == ExtensionReverseTransit
}

// once reports whether an extension of type t with a value of n bytes may occur only once in a
// packet (RFC 2332 §5.3). It reports false for unknown types, whose rules are not known.
func (t ExtensionType) once(n int) bool {
	return t.hasCIEs(n) || t == ExtensionAuthentication
}

// hasCIEs reports whether a message of type t carries CIEs. A message that does not carry any
// quotes a packet.
func (t Type) hasCIEs() bool {
	return t != ErrorIndication && t != TrafficIndication
}

// checksum returns the Internet checksum of b (RFC 1071). If b contains its own correct checksum,
// the result is 0.
func checksum(b []byte) uint16 {
	var sum uint64
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
