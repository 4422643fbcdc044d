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

// Flags are the flags of the mandatory part. Their meaning depends on the type of message.
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
	FlagNAT                 Flags = 0x0002 // the sender understands the NAT address extension (Cisco)
)

// Code is the code of a CIE (RFC 2332 §5.2.0.1).
type Code uint8

// CIE codes. Every code but CodeSuccess makes the CIE a refusal (NAK).
const (
	CodeSuccess               Code = 0
	CodeProhibited            Code = 4  // administratively prohibited
	CodeInsufficientResources Code = 5  // insufficient resources
	CodeNoBinding             Code = 12 // no internetworking layer address to NBMA address binding exists
	CodeNotUnique             Code = 13 // binding exists but is not unique
	CodeUniqueRegistered      Code = 14 // unique internetworking layer address already registered
)

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

// CIE is a Client Information Entry (RFC 2332 §5.2.0.1). An address that is absent is the zero netip.Addr.
type CIE struct {
	Code           Code
	PrefixLength   uint8 // bits; 0 and 255 stand for the host's own length, see PrefixOf
	MTU            uint16
	HoldingTime    uint16 // seconds
	Preference     uint8
	NBMA           netip.Addr
	NBMASubaddress []byte // aliases the parsed input
	Protocol       netip.Addr

	addressBits uint8  // length of an overlay address in this packet, from Parse; 0 in one built by hand
	unused      uint16 // as received
	received    oddity
	foreign     foreignAddresses
}

// foreignAddresses are the addresses of a CIE as received, where one of them is not of the packet's
// family. Append writes these in place of NBMA, NBMASubaddress and Protocol.
type foreignAddresses struct {
	bytes          []byte // all three; nil: the CIE is as it should be; aliases the parsed input
	nbma, protocol uint8  // lengths
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
	ExtensionNATAddress     ExtensionType = 9 // Cisco's; with 8 bytes the device capabilities of RFC 2735
)

// Extension is one entry of the extensions part. The End extension is not listed: it is written by Append and required by Parse.
//
// Type 9 has two meanings, told apart by length: 8 bytes, too short for a CIE, are the device capabilities of RFC 2735 and stay in
// Data; every other length is a list of CIEs, the NAT addresses.
type Extension struct {
	Type       ExtensionType
	Compulsory bool
	CIEs       []CIE  // of the types 3, 4, 5 and 9
	Data       []byte // of all other types, as it came; aliases the parsed input. Authentication: see Password

	received oddity
	offset   uint16 // from Parse
}

// Packet is one NHRP packet. An address that is absent is the zero netip.Addr.
//
// Fields that a type of message does not have are zero: CIEs and RequestID in indications, the Error fields and Quoted in all others.
//
// A Packet that Parse filled remembers the fields that a receiver ignores (unused and reserved bits), and Append writes them again: what is
// forwarded goes on as it came. To start from nothing use a new Packet, or assign Packet{}.
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

	ErrorCode   ErrorCode // Error Indication only
	ErrorOffset uint16    // Error Indication only: where in Quoted the fault is
	Quoted      []byte    // Error and Traffic Indication: the (first bytes of the) packet they are about; aliases the parsed input

	Extensions []Extension

	nbmaLen     uint8   // length of an NBMA address, from Parse: needed when none is present
	protocolLen uint8   // likewise of an overlay address
	snap        [5]byte // ar$pro.snap as received
	afterEnd    []byte  // what follows the End extension, as received; aliases the parsed input
	unused      uint32  // Traffic Indication only: the code and the reserved field after it, as received
	received    oddity
	memory      memory
}

// oddity marks what was received in one of several forms of the same meaning, so that it can be forwarded as it came.
type oddity uint8

const (
	oddAddressFormat    oddity = 1 << iota // the E.164 bit on an NBMA address of length 0 (RFC 2332 §5.1: ignored)
	oddSubaddressFormat                    // likewise on a subaddress
	oddUnusedBit                           // the unused bit of an extension; in a Packet: of its End
	oddEndOptional                         // an End without the compulsory bit
	oddEndPresent                          // an extensions part was there, if only an End
	oddChecksum                            // 0xffff where Append computes 0x0000, the other zero of ones' complement
)

// memory is where Parse keeps CIEs and extensions. It is apart from the exported slices so that Parse never overwrites a slice that a
// caller put there.
type memory struct {
	cies       []CIE
	extensions []Extension
}
