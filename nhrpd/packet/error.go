package packet

import "fmt"

// ParseError says what is wrong with a packet, in the terms of an Error Indication (RFC 2332 §5.2.7).
type ParseError struct {
	Code   ErrorCode // to send in an Error Indication
	Offset uint16    // of the fault, from the start of the fixed header
	Field  string    // the field at fault
	Got    int       // its value
	Want   string    // what it must be

	silent bool
}

// Error says which field is wrong, where it is, what it holds and what it should hold.
func (e *ParseError) Error() string {
	return fmt.Sprintf("NHRP %s at offset %d is %d, must be %s", e.Field, e.Offset, e.Got, e.Want)
}

// Answerable says whether an Error Indication may answer the packet. It may not where the packet is damaged (too short, wrong checksum), so
// that its source is not to be trusted, and where the packet is an Error Indication itself.
func (e *ParseError) Answerable() bool { return !e.silent }

// damaged is a fault that is never answered.
func damaged(offset int, field string, got int, want string) *ParseError {
	return &ParseError{Code: ErrorProtocol, Offset: uint16(offset), Field: field, Got: got, Want: want, silent: true}
}

// malformed is a fault of a packet that came as it was sent.
func malformed(offset int, field string, got int, want string) *ParseError {
	return &ParseError{Code: ErrorProtocol, Offset: uint16(offset), Field: field, Got: got, Want: want}
}
