package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Extension returns a pointer into p.Extensions to the first extension of type t, or nil if there
// is none. For ExtensionNATAddress it skips device capabilities, which have the same type (see the
// type Extension).
func (p *Packet) Extension(t ExtensionType) *Extension {
	for i := range p.Extensions {
		e := &p.Extensions[i]
		if e.Type == t && (t != ExtensionNATAddress || len(e.Data) == 0) {
			return e
		}
	}
	return nil
}

// Offset returns where the extension began in the packet that Parse read, in bytes from the start
// of the fixed header. An Error Indication names this place (RFC 2332 §5.2.7). Offset returns 0 for
// an extension built by hand.
func (e *Extension) Offset() uint16 { return e.offset }

// The data of an Authentication extension begin with this number (RFC 2332 §5.3.4.1: reserved and
// SPI). In the RFC a source address follows. Cisco and FRR send the plaintext password instead,
// without padding.
const (
	plaintextPassword = 1
	maxPassword       = 64
)

var errNotPlaintext = errors.New("authentication extension is not a plaintext password")

// Password returns the password of an Authentication extension as Cisco and FRR send it. It returns
// an error for other kinds of authentication, for an empty password and for one of more than 64
// bytes. The error never contains any of the extension's data.
func Password(e Extension) (string, error) {
	if e.Type != ExtensionAuthentication {
		return "", fmt.Errorf("%s extension is not the authentication extension", e.Type)
	}
	if len(e.Data) < 4 || binary.BigEndian.Uint32(e.Data) != plaintextPassword {
		return "", errNotPlaintext
	}
	pw := e.Data[4:]
	if len(pw) == 0 || len(pw) > maxPassword {
		return "", fmt.Errorf("authentication extension with a password of %d bytes, must be 1 to %d", len(pw), maxPassword)
	}
	return string(pw), nil
}

// PasswordExtension returns the Authentication extension with a plaintext password of 1 to 64 bytes
// (Cisco accepts at most 8). For any other length it returns the zero Extension, which Append
// refuses.
func PasswordExtension(pw string) Extension {
	if len(pw) == 0 || len(pw) > maxPassword {
		return Extension{}
	}
	data := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(pw)), plaintextPassword)
	return Extension{Type: ExtensionAuthentication, Compulsory: true, Data: append(data, pw...)}
}
