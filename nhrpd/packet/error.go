package packet

import "fmt"

// ParseError describes a fault of a packet in the terms of an Error Indication (RFC 2332 §5.2.7).
type ParseError struct {
	Code   ErrorCode // what an Error Indication about the fault carries
	Offset uint16    // where the fault is, in bytes from the start of the fixed header
	Field  string    // the name of the faulty field
	Got    int       // the field's value
	Want   string    // the values that are allowed

	silent bool
}

// Error names the faulty field, its place, its value and the values that are allowed.
func (e *ParseError) Error() string {
	return fmt.Sprintf("NHRP %s at offset %d is %d, must be %s", e.Field, e.Offset, e.Got, e.Want)
}

// Answerable reports whether an Error Indication may answer the packet. It may not if the packet is
// damaged (too short, or its checksum is wrong), since the source address may be damaged too, nor
// if the packet is itself an Error Indication.
func (e *ParseError) Answerable() bool { return !e.silent }

// damaged returns the error for a packet that was damaged on the way. It is never answerable.
func damaged(offset int, field string, got int, want string) *ParseError {
	return &ParseError{
		Code: ErrorProtocol, Offset: uint16(offset), Field: field, Got: got, Want: want,
		silent: true,
	}
}

// malformed returns the error for a packet that arrived as it was sent, but is wrong.
func malformed(offset int, field string, got int, want string) *ParseError {
	return &ParseError{
		Code: ErrorProtocol, Offset: uint16(offset), Field: field, Got: got, Want: want,
	}
}
