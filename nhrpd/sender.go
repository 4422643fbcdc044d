package nhrpd

import (
	"net/netip"
	"time"

	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/xfrm"
)

// senderOf is the NBMA address or the name of the router that an NHRP packet came from. A mark
// counts as a name only together with the outer source of the router that has the mark, as in the
// eBPF programs: a site's own firewall may set marks, too.
func (l *loop) senderOf(now time.Time, device string, m *nhrpsocket.Message) netip.Addr {
	name := xfrm.MarkedNBMA(m.Mark)
	p := l.ports[device]
	if !name.IsValid() || !m.NBMA.IsValid() || p == nil || !p.config.Protected {
		return m.NBMA
	}
	real, known := l.names[device][name]
	if known && real == m.NBMA {
		return name
	}
	// The SA of a router may be there while the word of it is still on its way.
	if !known && p.markedPeers.has(p, now, name, m.NBMA) {
		return name
	}
	return m.NBMA
}

// markedPeers is what the kernel's IPsec policies said of marks when last read. Reading takes long
// where there are many, and a firewall may mark every packet: the next reading has to wait.
type markedPeers struct {
	reals map[netip.Addr]netip.Addr // by name
	next  time.Time                 // when they may be read again
}

// readPause is the least time between two readings, and readShare how many times as long as the
// last one took they are apart.
const (
	readPause = time.Second
	readShare = 20
)

// has reports whether the peer with a name has its SA at an address.
func (t *markedPeers) has(p *port, now time.Time, name, real netip.Addr) bool {
	if t.reals[name] == real {
		return true
	}
	if now.Before(t.next) {
		return false
	}
	begun := time.Now()
	reals, err := p.platform.MarkedPeers(p.state.Local)
	if err != nil {
		reals = nil
	}
	t.reals = reals
	t.next = now.Add(max(readPause, readShare*time.Since(begun)))
	return reals[name] == real
}
