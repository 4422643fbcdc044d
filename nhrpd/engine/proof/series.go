package proof

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// probeTries is how often each probe of a series is sent. On a path that loses every tenth packet
// in each direction, one series in some 4,000 finds nothing for that reason alone.
const probeTries = 5

// searched are the sizes, besides the MTU, that a search for the longest packet tries: what common
// tunnels and links leave, down to what every host takes (576 bytes, RFC 791; 1280 in IPv6).
var searched = [...]int{1380, 1340, 1300, 1280, 1200, 1100, 1000, 800, 576}

// series is a set of probes that are sent together until all are answered.
type series struct {
	purpose  purpose
	began    time.Time
	probes   []sentProbe
	sent     int  // how often
	repeated bool // the series before lost the longest packet on a good path
	hinted   bool // the other router probed the path meanwhile
}

// purpose is what a series is for.
type purpose uint8

// The purposes.
const (
	proving   purpose = iota // may the path be used?
	searching                // what is the longest packet that passes?
	watching                 // is a path that data takes still good?
	returning                // does a path take data back to a router that probes it?
)

// sentProbe is one probe of a series.
type sentProbe struct {
	id       uint32
	size     int // of the packet in bytes; 0: as small as it can be
	answered bool
}

// running reports whether a series is under way.
func (s *series) running() bool { return len(s.probes) > 0 }

// done reports whether every probe was answered.
func (s *series) done() bool {
	return !slices.ContainsFunc(s.probes, func(p sentProbe) bool { return !p.answered })
}

// any reports whether any probe was answered.
func (s *series) any() bool {
	return slices.ContainsFunc(s.probes, func(p sentProbe) bool { return p.answered })
}

// longest returns the size of the longest probe that was answered.
func (s *series) longest() int {
	most := 0
	for _, p := range s.probes {
		if p.answered {
			most = max(most, p.size)
		}
	}
	return most
}

// start begins a series with probes of these sizes.
func (t *Table) start(p *path, why purpose, sizes ...int) {
	t.endSeries(p)
	p.unanswered = time.Time{}
	p.series = series{purpose: why, began: t.Now}
	for _, size := range sizes {
		id := t.newID()
		p.series.probes = append(p.series.probes, sentProbe{id: id, size: size})
		t.byID[id] = p
	}
	t.sendProbes(p)
}

// newID returns the random ID of a probe, so that only a router that got the probe can answer it.
func (t *Table) newID() uint32 {
	for {
		if id := t.Rand.Uint32(); id != 0 && t.byID[id] == nil && t.pings[id] == nil {
			return id
		}
	}
}

// sendProbes sends the probes that have no answer, and sets the timer for the next time.
func (t *Table) sendProbes(p *path) {
	p.series.sent++
	t.Timers.Set(&p.step, t.Now.Add(t.probeWait()))
	if !t.LocalTo(p.peer).IsValid() {
		return
	}
	for _, x := range p.series.probes {
		if !x.answered {
			t.sendProbe(p, x)
		}
	}
}

// probeWait is how long a probe waits for its answer before it is sent again. A series takes a
// third of the time within which a dead path is left.
func (t *Table) probeWait() time.Duration { return t.timeout() / 3 / probeTries }

// sendProbe sends one probe.
func (t *Table) sendProbe(p *path, x sentProbe) {
	request := packet.Packet{
		Type:           packet.ResolutionRequest,
		HopCount:       overlay.HopCount,
		Flags:          packet.ResolutionRouter | packet.ResolutionAuthoritative,
		RequestID:      x.id,
		SourceNBMA:     t.LocalTo(p.peer),
		SourceProtocol: t.AddressFor(p.nextHop),
		DestProtocol:   p.nextHop,
		CIEs:           []packet.CIE{{MTU: t.Config.MTU}},
		Extensions:     []packet.Extension{probe()},
	}
	t.Authenticate(&request)
	t.pad(&request, x.size)
	t.Send(p.peer, &request)
}

// pad lengthens our extension so that the packet has a size, if the packet is shorter.
func (t *Table) pad(p *packet.Packet, size int) {
	ext, _ := p.Vendor()
	ext.Data = ext.Data[:packet.VendorHeadLen:packet.VendorHeadLen]
	encoded, err := p.Append(t.scratch[:0])
	t.scratch = encoded
	if err == nil && len(encoded) < size {
		ext.Data = append(ext.Data, make([]byte, size-len(encoded))...)
	}
}

// Answered handles the answer to a probe of this router. An answer counts only if it comes from the
// peer whose path it proves.
func (t *Table) Answered(m *overlay.Message) {
	p := t.byID[m.RequestID]
	switch {
	case p == nil:
		t.Drop(overlay.DropAnswered) // the series has ended, or the probe was sent again
		return
	case m.From != p.peer:
		t.Drop(overlay.DropThirdParty)
		return
	}
	p.heard = t.Now
	if p.series.sent == 1 && !p.series.any() { // the first answer is that of the shortest probe
		p.roundTrip = t.Now.Sub(p.series.began)
	}
	for i := range p.series.probes {
		if x := &p.series.probes[i]; x.id == m.RequestID {
			x.answered = true
			if x.size > 0 && x.size == p.longestExpected(t.full()) {
				p.long = t.Now
			}
		}
	}
	if p.series.done() {
		t.conclude(p)
	}
}

// longestExpected returns the size of the longest packet that is expected to pass, of those that
// the tunnel takes.
func (p *path) longestExpected(full int) int {
	if p.state == report.PathSmall {
		return int(p.mtu)
	}
	return full
}

// seriesDue sends the probes of a series again, or ends the series.
func (t *Table) seriesDue(p *path) {
	if p.series.sent < probeTries {
		t.sendProbes(p)
		return
	}
	t.conclude(p)
}

// endSeries ends a series without a conclusion.
func (t *Table) endSeries(p *path) {
	for _, x := range p.series.probes {
		delete(t.byID, x.id)
	}
	p.series = series{}
	t.Timers.Stop(&p.step)
}

// Probe answers a probe, and has the path back probed too if data takes it: the other router may
// probe because nothing comes from here. If so, it gets no answer either and repeats its probe. One
// that does not may stand still, and says nothing of the path. A router whose data the kernel drops
// gets no answer: this router may have forgotten the answer that the other one's shortcut rests on,
// and its path is as dead as one on which everything is lost.
func (t *Table) Probe(m *overlay.Message) {
	switch {
	case !t.IsOwn(m.DestProtocol) || m.PassedOn():
		t.Drop(overlay.DropNotForUs)
		return
	case t.peers.ObjectToPath(m.From, m.SourceProtocol).Raised():
		t.Drop(overlay.DropProhibited)
		return
	case !t.parts.TakesDataFrom(m.From):
		t.Drop(overlay.DropNotAdmitted)
		return
	}
	size := len(m.Raw)
	ext, _ := m.Vendor()
	padded := len(ext.Data) > packet.VendorHeadLen
	ext.Data = packet.VendorData(packet.VendorAnswer, netip.Addr{})
	m.Type, m.HopCount = packet.ResolutionReply, overlay.HopCount
	cie := t.OwnCIE(m.SourceProtocol, m.SourceNBMA)
	cie.HoldingTime = 0 // nothing is to be remembered
	m.CIEs = t.CIEList(nil, cie)
	if padded {
		t.pad(m.Packet, min(size, t.full()))
	}
	t.Send(m.From, m.Packet)
	switch p := t.paths[m.From]; {
	case p == nil || !t.watched(p):
	case p.series.running():
		p.series.hinted = true
	case t.Now.Sub(p.heard) >= t.silence():
		t.start(p, returning, t.sizes(p, false)...)
	}
}
