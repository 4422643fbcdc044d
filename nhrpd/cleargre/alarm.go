package cleargre

import (
	"maps"
	"net/netip"
	"slices"

	"cygnet/kernel/datapath"
	"cygnet/kernel/xfrm"
)

// alarm compares what the tunnels on an address sent to each peer with what the ESP states to that
// peer took, which take the packets of all these tunnels. A packet that a tunnel sent, that no
// state took, and that the kernel does not count as unsent has left in clear, whatever the reason.
//
// Where the counts are uncertain, the alarm reports nothing:
//
//   - It reads what the tunnel sent twice, before it reads the states and after. It then compares
//     two spans. The shorter one, for the packets sent, begins after the states were read for one
//     sample and ends before they are read for the next. The longer one, for the packets that the
//     states took, has the shorter one inside it, however long reading a sample takes.
//   - A deleted state takes an unknown number of packets with it, even if no sample has the state.
//     The alarm then forgets the difference of that state's peer, and the next sample counts again.
//     An SA that is rekeyed between any two samples therefore hides what leaves for its peer.
//   - A difference counts only if two samples in a row have it.
type alarm struct {
	begun  bool
	sent   map[sender]datapath.Sent // what was sent, read after the states
	taken  map[stateID]uint64       // packets by state
	unsent uint64
	excess map[netip.Addr]uint64 // packets sent that nothing accounts for, without those reported
}

// sender identifies the counter of what a tunnel sent to a peer.
type sender struct {
	tunnel string
	peer   netip.Addr
}

// sent is what a tunnel sent to a peer.
type sent struct {
	tunnel string
	datapath.Sent
}

// stateID identifies an ESP state.
type stateID struct {
	dst  netip.Addr
	spi  uint32
	mark uint32
}

// sample is what is read at one time. The fields are in the order in which they are read.
type sample struct {
	sent   []sent
	unsent datapath.Unsent
	own    uint64 // what our programs dropped: unsent has it, sent does not
	states []xfrm.ESPState
	gone   goneStates
	after  []sent // what was sent, read again
	// offload is set if a device does the ESP, so that a state may count one packet for its
	// segments.
	offload bool
}

// goneStates has the addresses to which ESP states were deleted since the last sample.
type goneStates struct {
	to  map[netip.Addr]bool
	all bool // it is unknown which, so every peer may have lost one
}

// add records deleted states.
func (g *goneStates) add(to map[netip.Addr]bool, all bool) {
	g.all = g.all || all
	if g.to == nil {
		g.to = make(map[netip.Addr]bool)
	}
	maps.Copy(g.to, to)
}

// leak is what left in clear for a peer.
type leak struct {
	peer    netip.Addr
	packets uint64
}

// leakSlack is how many packets of all peers together may be missing without a leak. A counter is
// a sum over the processors, which are not read all at once.
const leakSlack = 8

// compare compares a sample with the one before, and returns the leaks.
func (a *alarm) compare(local netip.Addr, s sample) []leak {
	before := *a
	*a = alarm{
		begun:  true,
		sent:   make(map[sender]datapath.Sent, len(s.sent)),
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
		a.taken[id] = st.Packets
		took[st.Dst] += grown(st.Packets, before.taken[id])
		secured[st.Dst] = true
	}
	forgotten := make(map[netip.Addr]bool)
	for id := range before.taken {
		if _, there := a.taken[id]; !there {
			forgotten[id.dst] = true
		}
	}
	unsent := grown(a.unsent, before.unsent)
	if a.unsent < before.unsent { // the device is a new one, which counts from zero
		unsent = a.unsent
	}
	for _, p := range s.after {
		a.sent[sender{p.tunnel, p.NBMA}] = p.Sent
	}
	passed := make(map[netip.Addr]uint64, len(s.sent))
	for _, p := range s.sent {
		was := before.sent[sender{p.tunnel, p.NBMA}]
		if unsent == 0 && !s.offload {
			passed[p.NBMA] += grown(p.Segments, was.Segments)
		} else {
			passed[p.NBMA] += grown(p.Packets, was.Packets)
		}
	}
	for peer, sent := range passed {
		if !before.begun || forgotten[peer] || s.gone.all || s.gone.to[peer] {
			continue
		}
		if total := before.excess[peer] + sent; total > took[peer] {
			a.excess[peer] = total - took[peer]
		}
	}
	a.explain(unsent, secured)
	return a.confirmed(before.excess, leakSlack+s.unsent.Queued)
}

// grown returns by how much a counter grew. A counter that is smaller than before counts from zero
// again.
func grown(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// explain subtracts from the excess the packets that the kernel did not send. Peers without an SA
// come first, because the guard stops packets to them.
func (a *alarm) explain(unsent uint64, secured map[netip.Addr]bool) {
	peers := a.peers()
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
		n := min(unsent, a.excess[p])
		unsent -= n
		a.excess[p] -= n
	}
}

// peers returns the peers with an excess, by address.
func (a *alarm) peers() []netip.Addr {
	peers := make([]netip.Addr, 0, len(a.excess))
	for p := range a.excess {
		peers = append(peers, p)
	}
	slices.SortFunc(peers, netip.Addr.Compare)
	return peers
}

// confirmed returns the excess that the sample before had as well. It returns nothing if that
// is no more than slack for all peers together.
func (a *alarm) confirmed(before map[netip.Addr]uint64, slack uint64) []leak {
	var leaks []leak
	var sum uint64
	for _, p := range a.peers() {
		if n := min(before[p], a.excess[p]); n > 0 {
			leaks = append(leaks, leak{p, n})
			sum += n
		}
	}
	if sum <= slack {
		return nil
	}
	for _, l := range leaks {
		a.excess[l.peer] -= l.packets
	}
	return leaks
}
