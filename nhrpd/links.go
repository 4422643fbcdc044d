package nhrpd

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/peerlink"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/platform"
	"cygnet/nhrpd/translate"
	"cygnet/vici"
)

// A peer at an IPv6 address has a link: a GRE device of its own (package peerlink). The loop wants
// the link as soon as strongSwan reports the peer's SA, and tells the engine about the SA once the
// link is there, so that the first NHRP packet finds it.

// neighborUse and admissionUse are what has a name in the kernel.
type (
	neighborUse struct {
		device   string
		protocol netip.Addr
	}
	admissionUse engine.PeerKey
	linkUse      struct {
		device string
		peer   netip.Addr
	}
)

// linkedPeer is a peer at an IPv6 address that has an SA.
type linkedPeer struct {
	peer  vici.Peer
	index int  // of the link; 0: there is none yet
	told  bool // the engine knows of the SA, or learns of it in a Snapshot
}

// secureLinked wants a link for a peer at an IPv6 address. It reports whether the engine has to
// wait for the link before it may know of the peer's SA.
func (l *loop) secureLinked(peer vici.Peer) (wait bool) {
	if !peer.NBMA.Is6() || peer.Mark != 0 {
		return false
	}
	i := l.iface(peer.Interface)
	before, known := i.linked[peer.NBMA]
	i.linked[peer.NBMA] = linkedPeer{peer, before.index, known && before.told}
	if known && before.told {
		return false
	}
	l.wantLink(i, peer.NBMA)
	return true
}

// wantLink has a peer have a link, as soon as the interface has links.
func (l *loop) wantLink(i *iface, nbma netip.Addr) {
	if i.channel == nil || i.channel.links == nil {
		return
	}
	l.names.Use(linkUse{i.name, nbma}, peerid.At(nbma), false)
	err := i.channel.links.Want(l.names.Of(nbma), nbma)
	if err == nil {
		return
	}
	i.log.Warn("a peer at an IPv6 address is refused: it gets no device",
		"peer", nbma, "error", err)
}

// lostLinked has a peer that has no SA any more have no link.
func (l *loop) lostLinked(name string, nbma netip.Addr) {
	i := l.interfaces[name]
	if i == nil || !nbma.Is6() {
		return
	}
	delete(i.linked, nbma)
	delete(i.leftLinks, nbma)
	l.names.Use(linkUse{name, nbma}, peerid.At(nbma), true)
	if i.channel != nil && i.channel.links != nil {
		i.channel.links.Unwant(l.names.Of(nbma))
	}
}

// snapshotLinked has exactly the peers of a snapshot have links.
func (l *loop) snapshotLinked(s vici.Snapshot) {
	here := make(map[netip.Addr]bool)
	for _, p := range s.Peers {
		if !p.NBMA.Is6() || p.Mark != 0 {
			continue
		}
		here[p.NBMA] = true
		i := l.iface(s.Interface)
		i.linked[p.NBMA] = linkedPeer{p, i.linked[p.NBMA].index, true}
		l.wantLink(i, p.NBMA)
	}
	if i := l.interfaces[s.Interface]; i != nil {
		maps.DeleteFunc(i.leftLinks, func(nbma netip.Addr, _ int) bool { return !here[nbma] })
		for nbma := range i.linked {
			if !here[nbma] {
				l.lostLinked(s.Interface, nbma)
			}
		}
	}
}

// toldLinked notes that the engine knows of a peer's SA.
func (l *loop) toldLinked(peer vici.Peer) {
	if i := l.interfaces[peer.Interface]; i != nil && peer.NBMA.Is6() && peer.Mark == 0 {
		i.linked[peer.NBMA] = linkedPeer{peer, i.linked[peer.NBMA].index, true}
	}
}

// linkMade notes the link of a peer, and tells the engine about the SA of a peer whose link is
// there now.
func (l *loop) linkMade(now time.Time, name string, nbma netip.Addr, index int) {
	i := l.interfaces[name]
	if i == nil {
		return
	}
	p, wanted := i.linked[nbma]
	if !wanted {
		return
	}
	delete(i.leftLinks, nbma)
	told := p.told
	i.linked[nbma] = linkedPeer{p.peer, index, true}
	if _, is := i.receivers[peerid.At(nbma)]; is {
		i.hand(i.receiverChanges(peerid.At(nbma), false))
	}
	if told {
		return
	}
	l.engine.Handle(now, engine.PeerSecured{Peer: translate.EnginePeer(p.peer)}, &l.out)
}

// openLinks begins to keep the links of a channel, which send from local. It ends those that the
// channel had, whose devices stay until they are replaced.
func (r *runner) openLinks(ctx context.Context, ch *channel, st tunnel.State) {
	if ch == nil || ch.path == nil || !r.config.Protected ||
		ch.six == st.Local6 && ch.vrf == st.VRF {
		return
	}
	ch.closeLinks()
	ch.six, ch.vrf = st.Local6, st.VRF
	var made platform.Links
	if st.Local6.IsValid() {
		made = r.makeLinks(ctx, ch, st)
	}
	// The call fails only if the context has ended, and then nobody needs the links.
	_ = r.loop.call(ctx, func(time.Time) {
		ch.links = made
		if made == nil || r.iface.channel != ch {
			return
		}
		r.loop.wantLinks(r.iface)
	})
}

// wantLinks wants the links of all peers that have an SA.
func (l *loop) wantLinks(i *iface) {
	for nbma := range i.linked {
		l.wantLink(i, nbma)
	}
	if l.settled && i.channel.links != nil {
		i.channel.links.Settle()
	}
}

// linksStatus returns what the status says of the links; nil if there can be none.
func (i *iface) linksStatus() *api.Links {
	if i.channel == nil || i.channel.links == nil {
		return nil
	}
	st := i.channel.links.Stats()
	return &api.Links{
		Devices: st.Links, Limit: i.config.Limits.Links, Refused: st.Refused, Error: st.Fault,
	}
}

// makeLinks runs the links of a channel. It returns nil if there can be none.
func (r *runner) makeLinks(ctx context.Context, ch *channel, st tunnel.State) platform.Links {
	programs, err := ch.path.Links()
	if err != nil {
		r.log.Warn("peers at IPv6 addresses cannot be reached", "error", err)
		r.problems.Report(linksProblem(r.config.Name, err))
		return nil
	}
	r.problems.ResolveAll(api.ProblemLinks, r.config.Name)
	links := r.platform.NewLinks(peerlink.Config{
		Tunnel:   r.config.Name,
		Local:    st.Local6,
		Device:   st.VRF,
		Key:      r.config.Key,
		TTL:      r.config.TTL,
		Max:      r.config.Limits.Links,
		Programs: programs,
		Made: func(nbma netip.Addr, index int) {
			// As above.
			_ = r.loop.call(ctx, func(now time.Time) {
				r.loop.linkMade(now, r.config.Name, nbma, index)
			})
		},
	}, r.log)
	ctx, ch.endLinks = context.WithCancel(ctx)
	ch.linksEnded = make(chan struct{})
	ended := ch.linksEnded
	go func() {
		defer close(ended)
		if err := links.Run(ctx); err != nil && ctx.Err() == nil {
			r.log.Error("peers at IPv6 addresses get no devices any more", "error", err)
			r.problems.Report(linksProblem(r.config.Name, err))
		}
	}()
	return links
}

// linksProblem is the problem that peers at IPv6 addresses cannot be reached.
func linksProblem(name string, err error) api.Problem {
	remedy := "systemctl restart cygnetd begins it anew"
	if errors.Is(err, datapath.ErrNoLinks) {
		remedy = "let the kernel load eBPF programs, or use IPv4 addresses only"
	}
	return api.Problem{
		Code:      api.ProblemLinks,
		Severity:  api.SeverityError,
		Interface: name,
		Subject:   "links",
		Text:      "peers at IPv6 addresses cannot be reached: " + err.Error(),
		Remedy:    remedy,
	}
}

// closeLinks ends the task that keeps the links, and leaves the devices.
func (ch *channel) closeLinks() {
	if ch.endLinks == nil {
		return
	}
	ch.endLinks()
	<-ch.linksEnded
	ch.endLinks = nil
}
