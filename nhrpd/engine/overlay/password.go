package overlay

import (
	"crypto/subtle"

	"cygnet/nhrpd/packet"
)

// Authentic reports whether a packet carries the password that this router is configured with. If
// none is configured here, a packet with a password fails too: the two ends disagree, and accepting
// the packet would hide that. Error Indications always pass: RFC 2332 §5.2.7 gives them no
// password, but some implementations send one.
func (ifc *Interface) Authentic(m *Message) bool {
	if m.Type == packet.ErrorIndication {
		return true
	}
	want := ifc.Config.Authentication
	ext := m.Extension(packet.ExtensionAuthentication)
	if ext == nil || want == "" {
		return ext == nil && want == ""
	}
	got, err := packet.Password(*ext)
	return err == nil && subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

// PasswordOffset returns the offset of the refused password in the packet. It is 0 if the packet
// has no password.
func (m *Message) PasswordOffset() uint16 {
	if ext := m.Extension(packet.ExtensionAuthentication); ext != nil {
		return ext.Offset()
	}
	return 0
}

// Authenticate puts the configured password into a packet that is about to be sent. A password is
// valid for one hop only, so a forwarded packet gets it anew. Error Indications get none.
func (ifc *Interface) Authenticate(p *packet.Packet) {
	if ifc.Config.Authentication == "" || p.Type == packet.ErrorIndication {
		return
	}
	if ext := p.Extension(packet.ExtensionAuthentication); ext != nil {
		ext.Data = ifc.password.Data
		return
	}
	p.Extensions = append(p.Extensions, ifc.password)
}
