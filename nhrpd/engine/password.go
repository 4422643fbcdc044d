package engine

import (
	"crypto/subtle"

	"cygnet/nhrpd/packet"
)

// authentic reports whether a packet's password is the configured one. Where none is configured, a
// packet with one is refused: the two ends disagree, and silently accepting that would hide it.
// Error Indications carry none by RFC 2332 §5.2.7, but some send it.
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

// tellForeignPassword tells the log whose packets have another password than ours, and never which.
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
	e.notice(m.ifc, Notice{Kind: NoticeRejected, NextHop: m.SourceProtocol, NBMA: m.from, Identity: m.identity(),
		Reason: m.Type.String() + " dropped: " + reason})
}

// passwordOffset is where a refused password stands; 0 where it is missing.
func (m *message) passwordOffset() uint16 {
	if ext := m.Extension(packet.ExtensionAuthentication); ext != nil {
		return ext.Offset()
	}
	return 0
}

// authenticate regenerates the password, which counts from hop to hop.
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
