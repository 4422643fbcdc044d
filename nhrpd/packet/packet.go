// Package packet is NHRP's wire format (RFC 2332 §5) with what DMVPN adds to it.
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
	ExtensionNATAddress     ExtensionType = 9
)

// Extension is one entry of the extensions part. The End extension is not listed: it is written by Append and required by Parse.
type Extension struct {
	Type       ExtensionType
	Compulsory bool
	CIEs       []CIE  // of the types 3, 4, 5 and 9
	Data       []byte // of all other types, as it came; aliases the parsed input. Authentication: see Password
}

// Packet is one NHRP packet. An address that is absent is the zero netip.Addr.
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
	Quoted      []byte    // Error and Traffic Indication: the packet they are about; aliases the parsed input

	Extensions []Extension
}
