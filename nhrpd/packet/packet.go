package packet

import "net/netip"

// Type is the packet type, ar$op.type (RFC 2332 §5.2).
type Type uint8

// The message types of RFC 2332 §5.2, and the Traffic Indication of DMVPN phase 3.
const (
	ResolutionRequest   Type = 1
	ResolutionReply     Type = 2
	RegistrationRequest Type = 3
	RegistrationReply   Type = 4
	PurgeRequest        Type = 5
	PurgeReply          Type = 6
	ErrorIndication     Type = 7
	TrafficIndication   Type = 8
)

// Flags holds the flags of the mandatory part. What a bit means depends on the message type.
type Flags uint16

// Flags of resolution messages (RFC 2332 §5.2.1), of registrations (§5.2.3) and of purges (§5.2.5).
const (
	ResolutionRouter        Flags = 0x8000 // Q: the source is a router
	ResolutionAuthoritative Flags = 0x4000 // A
	ResolutionDestStable    Flags = 0x2000 // D
	ResolutionUnique        Flags = 0x1000 // U
	ResolutionSourceStable  Flags = 0x0800 // S
	RegistrationUnique      Flags = 0x8000 // U
	PurgeNoReply            Flags = 0x8000 // N
	// the sender understands the NAT address extension (Cisco)
	FlagNAT Flags = 0x0002
)

// Code is the code of a CIE (RFC 2332 §5.2.0.1).
type Code uint8

// CIE codes. Every code other than CodeSuccess makes the CIE a refusal (NAK).
const (
	CodeSuccess               Code = 0
	CodeProhibited            Code = 4 // administratively prohibited
	CodeInsufficientResources Code = 5 // insufficient resources
	// no internetworking layer address to NBMA address binding exists
	CodeNoBinding        Code = 12
	CodeNotUnique        Code = 13 // binding exists but is not unique
	CodeUniqueRegistered Code = 14 // unique internetworking layer address already registered

	MaxCode = CodeUniqueRegistered // the highest one
)

// Known reports whether the code is one of those above.
func (c Code) Known() bool {
	switch c {
	case CodeSuccess, CodeProhibited, CodeInsufficientResources, CodeNoBinding, CodeNotUnique,
		CodeUniqueRegistered:
		return true
	}
	return false
}

// ErrorCode is the code of an Error Indication (RFC 2332 §5.2.7).
type ErrorCode uint16

// Error Indication codes.
const (
	ErrorUnrecognizedExtension  ErrorCode = 1
	ErrorLoop                   ErrorCode = 3
	ErrorProtocolUnreachable    ErrorCode = 6
	ErrorProtocol               ErrorCode = 7
	ErrorSDUSizeExceeded        ErrorCode = 8
	ErrorInvalidExtension       ErrorCode = 9
	ErrorInvalidResolutionReply ErrorCode = 10
	ErrorAuthentication         ErrorCode = 11
	ErrorHopCount               ErrorCode = 15
)

// CIE is a Client Information Entry (RFC 2332 §5.2.0.1). An absent address is the zero netip.Addr.
type CIE struct {
	Code           Code
	PrefixLength   uint8 // in bits; 0 and 255 mean the full length of an address, see PrefixOf
	MTU            uint16
	HoldingTime    uint16 // seconds
	Preference     uint8
	NBMA           netip.Addr
	NBMASubaddress []byte // aliases the parsed input
	Protocol       netip.Addr

	// set by Parse: bits of an overlay address in this packet; 0 in a CIE built by hand
	addressBits uint8
	unused      uint16 // the unused field as received
	received    oddity
	foreign     foreignAddresses
}

// foreignAddresses holds the addresses of a CIE as received, if one of them is not of the packet's
// family. Append then writes them in place of NBMA, NBMASubaddress and Protocol.
type foreignAddresses struct {
	// all three addresses, aliasing the parsed input; nil: all are of the packet's families
	bytes          []byte
	nbma, protocol uint8 // lengths of the NBMA and the overlay address
}

// ExtensionType is the type of an extension without the compulsory bit (RFC 2332 §5.3).
type ExtensionType uint16

// Extension types.
const (
	ExtensionEnd            ExtensionType = 0
	ExtensionResponder      ExtensionType = 3
	ExtensionForwardTransit ExtensionType = 4
	ExtensionReverseTransit ExtensionType = 5
	ExtensionAuthentication ExtensionType = 7
	ExtensionVendor         ExtensionType = 8
	// the NAT address extension of Cisco; with 8 bytes, the device capabilities of RFC 2735
	ExtensionNATAddress ExtensionType = 9
)

// Extension is one entry of the extensions part. The End extension is not listed: Append writes it,
// and Parse requires it.
//
// Type 9 has two meanings, which differ in their length. A value of 8 bytes, too short for a CIE,
// is the device capabilities of RFC 2735 and stays in Data. A value of any other length is a list
// of CIEs, the NAT addresses.
type Extension struct {
	Type       ExtensionType
	Compulsory bool
	CIEs       []CIE // in the types 3, 4, 5 and 9
	// in all other types, the value as received; aliases the parsed input. Password reads the
	// Authentication extension
	Data []byte

	received oddity
	offset   uint16 // set by Parse, see Offset
}

// Packet is one NHRP packet. An absent address is the zero netip.Addr.
//
// Fields that a message type does not have are zero: CIEs and RequestID in indications, the Error
// fields and Quoted in all other messages.
//
// A Packet that Parse filled remembers the fields that a receiver ignores (unused and reserved
// bits). Append writes them again, so that a packet is forwarded as it came. To build an unrelated
// packet, use a new Packet, or assign Packet{} first.
type Packet struct {
	Type             Type
	HopCount         uint8
	Flags            Flags
	RequestID        uint32
	SourceNBMA       netip.Addr
	SourceSubaddress []byte // aliases the parsed input
	SourceProtocol   netip.Addr
	DestProtocol     netip.Addr
	CIEs             []CIE

	ErrorCode ErrorCode // only in an Error Indication
	// only in an Error Indication: where the fault is, in bytes from the start of Quoted
	ErrorOffset uint16
	// only in indications: the packet they are about, or its first bytes; aliases the parsed input
	Quoted []byte

	Extensions []Extension

	// set by Parse: length of an NBMA address, which Append needs where none is present
	nbmaLen     uint8
	protocolLen uint8   // the same for an overlay address
	snap        [5]byte // ar$pro.snap as received
	afterEnd    []byte  // the bytes after the End extension, as received; aliases the parsed input
	// only in a Traffic Indication: the code and the reserved field after it, as received
	unused   uint32
	received oddity
	memory   memory
}

// oddity is a set of bits. Each bit says that a field came in an unusual form of the same meaning;
// Append writes that form again, so that a packet is forwarded as it came.
type oddity uint8

const (
	// E.164 bit set on an NBMA address of length 0 (RFC 2332 §5.1: ignored)
	oddAddressFormat    oddity = 1 << iota
	oddSubaddressFormat        // the same on a subaddress
	// unused bit of an extension set; in a Packet: that of its End extension
	oddUnusedBit
	oddEndOptional // End extension without the compulsory bit
	oddEndPresent  // extensions part present, although it may hold only an End extension
	// checksum 0xffff where Append computes 0x0000, the other zero of ones' complement
	oddChecksum
)

// memory is where Parse keeps CIEs and extensions. It is separate from the exported slices, so that
// Parse never overwrites a slice that a caller put there.
type memory struct {
	cies       []CIE
	extensions []Extension
}
