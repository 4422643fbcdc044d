package packet

import "encoding/binary"

// Offsets of the fixed header and of what every mandatory part begins with.
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

	headerLen = 0x1c // what comes before the first address
	cieLen    = 0x0c // a CIE without addresses
	tlvLen    = 4    // an extension without value

	maxSize       = 0xffff
	maxSubaddress = 0x3f // six bits of length
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

// deviceCapabilities is the length of the extension that RFC 2735 defines with the type of the NAT address extension.
const deviceCapabilities = 8

// hasCIEs says whether an extension with a value of n bytes is a list of CIEs.
func (t ExtensionType) hasCIEs(n int) bool {
	return t.isRecord() || t == ExtensionNATAddress && n != deviceCapabilities
}

// isRecord reports whether the extension is a list of CIEs that name the routers which handled a
// packet: none of its addresses decides where anything is sent.
func (t ExtensionType) isRecord() bool {
	return t == ExtensionResponder || t == ExtensionForwardTransit || t == ExtensionReverseTransit
}

// once says whether an extension with a value of n bytes may occur only once in a packet (RFC 2332 §5.3). Of unknown types nobody can tell.
func (t ExtensionType) once(n int) bool {
	return t.hasCIEs(n) || t == ExtensionAuthentication
}

// hasCIEs says whether a message carries CIEs; otherwise it quotes a packet.
func (t Type) hasCIEs() bool {
	return t != ErrorIndication && t != TrafficIndication
}

// checksum is the Internet checksum (RFC 1071). Over data that contains its own checksum it is 0.
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
