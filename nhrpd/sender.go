package nhrpd

import (
	"net/netip"
	"time"

	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/xfrm"
)

// senderOf returns by which address the engine knows the router that sent an NHRP packet: the
// NBMA address, or the name that stands for the router's mark. A packet with a mark is that
// router's only if its outer source is the router's address as well; otherwise a mark that the
// site's own firewall set would count. The eBPF programs apply the same rule.
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
	// The kernel may have the SA before strongSwan's event about it reaches the loop.
	if !known && p.markedPeers.has(p, now, name, m.NBMA) {
		return name
	}
	return m.NBMA
}

// markedPeers is what the kernel's IPsec policies told of peers with marks when the daemon last
// read them. Reading takes long where there are many policies, and a firewall may mark every
// packet. So has reads them again only after a pause.
type markedPeers struct {
	reals map[netip.Addr]netip.Addr // the peers' outer addresses, by name
	next  time.Time                 // when has may read again
}

// Two readings are at least readPause apart, and at least readShare times as long as the last
// reading took. Reading therefore takes about a twentieth of the loop's time at most.
const (
	readPause = time.Second
	readShare = 20
)

// has reports whether the peer with that name has its SA at the outer address real.
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
