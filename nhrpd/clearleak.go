package nhrpd

import (
	"maps"
	"net/netip"
	"slices"

	"cygnet/kernel"
	"cygnet/kernel/xfrm"
)

// leakWatch compares what a tunnel sent to each peer with what the ESP states to that peer took.
// What the tunnel sent and neither a state took nor the kernel counts as unsent left in clear,
// whatever the reason.
//
// It only errs towards silence. The packets of the tunnel are read twice, before the states and
// after them. What it sent from after one look's states to before the next look's is among what the
// states took from the one look to the other, however long a look takes. A state that was deleted,
// seen before or not, took an unknown number with it: its peer's difference is forgotten, and the
// next look tells (an SA that is rekeyed between any two looks hides what leaves for its peer). A
// difference counts once it is there at two looks in a row.
type leakWatch struct {
	begun  bool
	sent   map[netip.Addr]kernel.Sent // after the states were read
	taken  map[stateID]uint64
	unsent uint64
	excess map[netip.Addr]uint64 // sent and not accounted for, and not reported
}

// stateID names an ESP state.
type stateID struct {
	dst  netip.Addr
	spi  uint32
	mark uint32
}

// leakSample is what a look compares, read in this order.
type leakSample struct {
	sent   []kernel.Sent
	unsent kernel.Unsent
	own    uint64 // of unsent, what our programs dropped: it is not among sent
	states []xfrm.ESPState
	gone   goneStates
	after  []kernel.Sent // what was sent by then
	whole  bool          // a state may take several segments for one packet: a device does ESP by itself
}

// goneStates are the addresses to which states were deleted since the last look.
type goneStates struct {
	to  map[netip.Addr]bool
	all bool // it is not known which
}

func (g *goneStates) add(to map[netip.Addr]bool, all bool) {
	g.all = g.all || all
	if g.to == nil {
		g.to = make(map[netip.Addr]bool)
	}
	maps.Copy(g.to, to)
}

// leak is what left for a peer in clear.
type leak struct {
	peer    netip.Addr
	packets uint64
}

// leakSlack is how many packets of all peers may be missing: counters of several processors are not
// read at once.
const leakSlack = 8

// look compares a sample with the last one.
func (w *leakWatch) look(local netip.Addr, s leakSample) []leak {
	before := *w
	*w = leakWatch{
		begun:  true,
		sent:   make(map[netip.Addr]kernel.Sent, len(s.sent)),
		taken:  make(map[stateID]uint64, len(s.states)),
		unsent: s.unsent.Packets - min(s.unsent.Packets, s.own),
		excess: make(map[netip.Addr]uint64),
	}
	took, secured := make(map[netip.Addr]uint64), make(map[netip.Addr]bool)
	for _, st := range s.states {
		if st.Src != local || !st.GRE && !st.Tunnel {
			continue
		}
		id := stateID{st.Dst, st.SPI, st.Mark}
		w.taken[id] = st.Packets
		took[st.Dst] += grown(st.Packets, before.taken[id])
		secured[st.Dst] = true
	}
	forgotten := make(map[netip.Addr]bool)
	for id := range before.taken {
		if _, there := w.taken[id]; !there {
			forgotten[id.dst] = true
		}
	}
	unsent := grown(w.unsent, before.unsent)
	if w.unsent < before.unsent { // the device was made anew
		unsent = w.unsent
	}
	for _, p := range s.after {
		w.sent[p.NBMA] = p
	}
	for _, p := range s.sent {
		sent := grown(p.Packets, before.sent[p.NBMA].Packets)
		if unsent == 0 && !s.whole {
			sent = grown(p.Segments, before.sent[p.NBMA].Segments)
		}
		if !before.begun || forgotten[p.NBMA] || s.gone.all || s.gone.to[p.NBMA] {
			continue
		}
		if total := before.excess[p.NBMA] + sent; total > took[p.NBMA] {
			w.excess[p.NBMA] = total - took[p.NBMA]
		}
	}
	w.explain(unsent, secured)
	return w.confirmed(before.excess, leakSlack+s.unsent.Queued)
}

// grown is how far a counter went. One that is smaller than before began anew.
func grown(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// explain takes what the kernel did not send from the excess, of peers without an SA first: the
// guard stops what is for them.
func (w *leakWatch) explain(unsent uint64, secured map[netip.Addr]bool) {
	peers := w.peers()
	slices.SortStableFunc(peers, func(a, b netip.Addr) int {
		switch {
		case secured[a] == secured[b]:
			return 0
		case secured[a]:
			return 1
		}
		return -1
	})
	for _, p := range peers {
		n := min(unsent, w.excess[p])
		unsent -= n
		w.excess[p] -= n
	}
}

func (w *leakWatch) peers() []netip.Addr {
	peers := make([]netip.Addr, 0, len(w.excess))
	for p := range w.excess {
		peers = append(peers, p)
	}
	slices.SortFunc(peers, netip.Addr.Compare)
	return peers
}

// confirmed returns what was in excess at the last look too, and still is, if it is more than
// slack.
func (w *leakWatch) confirmed(before map[netip.Addr]uint64, slack uint64) []leak {
	var leaks []leak
	var sum uint64
	for _, p := range w.peers() {
		if n := min(before[p], w.excess[p]); n > 0 {
			leaks = append(leaks, leak{p, n})
			sum += n
		}
	}
	if sum <= slack {
		return nil
	}
	for _, l := range leaks {
		w.excess[l.peer] -= l.packets
	}
	return leaks
}
