package engine

import (
	"crypto/subtle"

	"cygnet/nhrpd/packet"
)

// authentic reports whether a packet carries the password that this router is configured with. If
// none is configured here, a packet with a password fails too: the two ends disagree, and accepting
// the packet would hide that. Error Indications always pass: RFC 2332 §5.2.7 gives them no
// password, but some implementations send one.
func (e *Engine) authentic(m *message) bool {
	if m.Type == packet.ErrorIndication {
		return true
	}
	want := m.ifc.cfg.Authentication
	ext := m.Extension(packet.ExtensionAuthentication)
	if ext == nil || want == "" {
		return ext == nil && want == ""
	}
	got, err := packet.Password(*ext)
	return err == nil && subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

// tellForeignPassword reports a sender whose password differs from this router's. The report names
// the sender and never contains a password.
func (e *Engine) tellForeignPassword(m *message) {
	reason := "its NHRP password is not ours (authentication)"
	switch {
	case m.ifc.cfg.Authentication == "":
		reason = "it has an NHRP password, and none is configured here (authentication)"
	case m.Extension(packet.ExtensionAuthentication) == nil:
		reason = "it has no NHRP password, and one is configured here (authentication)"
	}
	e.complain(m.ifc, MismatchPassword, m.from, m.SourceProtocol, m.identity(), reason)
	if !m.ifc.limits.refusals.Allow(e.now, m.from) {
		return
	}
	e.notice(m.ifc, Notice{
		Kind:     NoticeRejected,
		NextHop:  m.SourceProtocol,
		NBMA:     m.from,
		Identity: m.identity(),
		Reason:   m.Type.String() + " dropped: " + reason,
	})
}

// passwordOffset returns the offset of the refused password in the packet. It is 0 if the packet
// has no password.
func (m *message) passwordOffset() uint16 {
	if ext := m.Extension(packet.ExtensionAuthentication); ext != nil {
		return ext.Offset()
	}
	return 0
}

// authenticate puts the configured password into a packet that is about to be sent. A password is
// valid for one hop only, so a forwarded packet gets it anew. Error Indications get none.
func (e *Engine) authenticate(ifc *iface, p *packet.Packet) {
	if ifc.cfg.Authentication == "" || p.Type == packet.ErrorIndication {
		return
	}
	if ext := p.Extension(packet.ExtensionAuthentication); ext != nil {
		ext.Data = ifc.auth.Data
		return
	}
	p.Extensions = append(p.Extensions, ifc.auth)
}
