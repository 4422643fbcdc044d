package packet

import (
	"fmt"
	"strings"
)

// String returns RFC 2332's name of the type, in lower case.
func (t Type) String() string {
	switch t {
	case ResolutionRequest:
		return "resolution request"
	case ResolutionReply:
		return "resolution reply"
	case RegistrationRequest:
		return "registration request"
	case RegistrationReply:
		return "registration reply"
	case PurgeRequest:
		return "purge request"
	case PurgeReply:
		return "purge reply"
	case ErrorIndication:
		return "error indication"
	case TrafficIndication:
		return "traffic indication"
	}
	return fmt.Sprintf("message of type %d", uint8(t))
}

// types has all types of messages.
var types = [...]Type{
	ResolutionRequest, ResolutionReply, RegistrationRequest, RegistrationReply, PurgeRequest,
	PurgeReply, ErrorIndication, TrafficIndication,
}

// word returns the name of a type of messages as one word, such as "resolution-request".
func (t Type) word() string { return strings.ReplaceAll(t.String(), " ", "-") }

// TypeNamed returns the type of messages with a name that is one word, such as
// "resolution-request". It returns an error that lists all names if there is no such type.
func TypeNamed(word string) (Type, error) {
	var words []string
	for _, t := range types {
		if t.word() == word {
			return t, nil
		}
		words = append(words, t.word())
	}
	return 0, fmt.Errorf("there is no type of messages %q, but %s", word,
		strings.Join(words, ", "))
}

// TypeOf returns the type of message that the header of the packet in b has, whether or not the
// packet is valid. It returns 0 if b is too short to have one.
func TypeOf(b []byte) Type {
	if len(b) <= offType {
		return 0
	}
	return Type(b[offType])
}

// IsRequest reports whether messages of type t are answered by a reply.
func (t Type) IsRequest() bool {
	return t == ResolutionRequest || t == RegistrationRequest || t == PurgeRequest
}

// IsReply reports whether messages of type t answer a request.
func (t Type) IsReply() bool {
	return t == ResolutionReply || t == RegistrationReply || t == PurgeReply
}

// String returns RFC 2332's wording of the code, in lower case.
func (c Code) String() string {
	switch c {
	case CodeSuccess:
		return "success"
	case CodeProhibited:
		return "administratively prohibited"
	case CodeInsufficientResources:
		return "insufficient resources"
	case CodeNoBinding:
		return "no internetworking layer address to NBMA address binding exists"
	case CodeNotUnique:
		return "binding exists but is not unique"
	case CodeUniqueRegistered:
		return "unique internetworking layer address already registered"
	}
	return fmt.Sprintf("unknown code %d", uint8(c))
}

// String returns RFC 2332's wording of the error, in lower case.
func (c ErrorCode) String() string {
	switch c {
	case ErrorUnrecognizedExtension:
		return "unrecognized extension"
	case ErrorLoop:
		return "NHRP loop detected"
	case ErrorProtocolUnreachable:
		return "protocol address unreachable"
	case ErrorProtocol:
		return "protocol error"
	case ErrorSDUSizeExceeded:
		return "NHRP SDU size exceeded"
	case ErrorInvalidExtension:
		return "invalid extension"
	case ErrorInvalidResolutionReply:
		return "invalid NHRP resolution reply received"
	case ErrorAuthentication:
		return "authentication failure"
	case ErrorHopCount:
		return "hop count exceeded"
	}
	return fmt.Sprintf("unknown error %d", uint16(c))
}

// String returns RFC 2332's name of the extension, in lower case.
func (t ExtensionType) String() string {
	switch t {
	case ExtensionEnd:
		return "end of extensions"
	case ExtensionResponder:
		return "responder address"
	case ExtensionForwardTransit:
		return "forward transit NHS record"
	case ExtensionReverseTransit:
		return "reverse transit NHS record"
	case ExtensionAuthentication:
		return "authentication"
	case ExtensionVendor:
		return "vendor-private"
	case ExtensionNATAddress:
		return "NAT address"
	}
	return fmt.Sprintf("type %d", uint16(t))
}
