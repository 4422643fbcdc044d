// Package espstate compares the ESP states of the kernel with the CHILD_SAs of charon, which belong
// together although one can exist without the other:
//
//   - A charon that was killed leaves ESP states. Nobody rekeys or ends them until their hard
//     lifetime, which is hours later, and a peer that dials again has no use for them. A peer that
//     has not come back yet still does: traffic with it goes on through these states.
//   - An ESP state that somebody deleted stays away for as long. charon does not look at the state,
//     and its peer still answers.
//   - A dead peer keeps its SA if somebody sends GRE in clear in its name (see silence).
package espstate

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/wait"
	"cygnet/vici"
)

const (
	// Interval is how often a Watch compares, with up to ManySAs SAs.
	Interval = 10 * time.Second
	// ManySAs is the number of SAs from which on comparing costs noticeable time.
	ManySAs = 1000
	// SettlingTime is how long the connection with charon has to stand, and how old a state has to
	// be, before a state without an SA counts: charon may be making the SA.
	SettlingTime = 10 * time.Second

	slowInterval = 30 * time.Second // how often a Watch compares with more than ManySAs SAs
	// childAge is how old a CHILD_SA has to be before a missing state counts. After a rekeying, the
	// outbound state comes only with the next message.
	childAge   = 2 * time.Second
	spiTimeout = 20 * time.Second // how long charon may take to list its SPIs
)

// Kernel is what a Watch uses of the kernel; see the functions of these names in xfrm.
type Kernel struct {
	ESPStates    func(local netip.Addr) ([]xfrm.ESPState, error)
	DeleteStates func([]xfrm.ESPState) error
	ClearIn      func() (uint64, error)
	PolicyUse    func(local netip.Addr) (map[netip.Addr]time.Time, error)
}

// Charon is what a Watch uses of charon; see vici.Client.
type Charon interface {
	Status() vici.Status
	SAs() []vici.SA
	SPIs(ctx context.Context) (map[uint32]bool, error)
	Repair(spis []uint32)
	Counted(in, out map[uint32]vici.Count)
	Probe(spis []uint32)
}

// Watch compares the states and the SAs at regular intervals.
type Watch struct {
	log      *slog.Logger
	kernel   Kernel
	charon   Charon
	grace    time.Duration           // see NewWatch
	silences map[netip.Addr]*silence // by local address
}

// NewWatch returns a Watch that has compared nothing yet. grace is for how long after charon's
// return the consumer of the SAs relies on the states of peers that have no new SA.
func NewWatch(kernel Kernel, charon Charon, grace time.Duration, log *slog.Logger) *Watch {
	return &Watch{
		log:      log,
		kernel:   kernel,
		charon:   charon,
		grace:    grace,
		silences: make(map[netip.Addr]*silence),
	}
}

// Run compares until the context ends, while charon answers and so can say which states are its
// own. It removes states that belong to no SA, those of peers without a new SA only once the grace
// time and another SettlingTime are over. It has charon renew CHILD_SAs that lack a state. locals
// returns the addresses that the protected tunnels send from.
func (w *Watch) Run(ctx context.Context, locals func(context.Context) []netip.Addr) error {
	for interval := Interval; wait.For(ctx, interval); {
		st := w.charon.Status()
		if !st.Connected || time.Since(st.Since) < SettlingTime {
			w.count(locals(ctx))
			continue
		}
		counted := NewCounts()
		graceOver := time.Since(st.Since) >= w.grace+SettlingTime
		for _, local := range locals(ctx) {
			if err := w.compare(ctx, local, graceOver, counted); err != nil && ctx.Err() == nil {
				w.log.Warn("cannot compare the kernel's ESP states with charon's SAs",
					"local", local, "error", err)
			}
		}
		w.charon.Counted(counted.In, counted.Out)
		interval = Interval
		if st.SAs > ManySAs {
			interval = slowInterval
		}
	}
	return nil
}

// count passes on what the states counted while charon cannot say which of them are its own: what
// an earlier charon left in the kernel still carries traffic.
func (w *Watch) count(locals []netip.Addr) {
	counted := NewCounts()
	for _, local := range locals {
		states, err := w.kernel.ESPStates(local)
		if err != nil {
			w.log.Debug("cannot count what the ESP states carried", "local", local, "error", err)
			return
		}
		counted.Add(local, states)
	}
	w.charon.Counted(counted.In, counted.Out)
}

// compare compares the states and the SAs of one local address. It asks charon for its SPIs only if
// a state belongs to none of our SAs or one of our SAs lacks a state, which is rare. Before
// graceOver, it leaves alone the states of peers without an SA. It adds the counts of the
// states to counted, and has charon probe silent peers (see silence). It returns an error if the
// kernel or charon does not answer.
func (w *Watch) compare(
	ctx context.Context, local netip.Addr, graceOver bool, counted Counts,
) error {
	sas := w.charon.SAs()
	states, err := w.kernel.ESPStates(local)
	if err != nil {
		return err
	}
	counted.Add(local, states)
	w.probeSilent(states, local)
	suspects, lacking := unexplained(states, sas), without(states, sas, local)
	if !graceOver {
		suspects = ofPeersWithSAs(suspects, sas)
	}
	if len(suspects)+len(lacking) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, spiTimeout)
	defer cancel()
	known, err := w.charon.SPIs(ctx)
	if err != nil {
		return err
	}
	w.repair(local, lacking, known)
	return w.removeOrphans(local, suspects, known)
}

// repair has charon renew those of the CHILD_SAs that lack a state which charon still has.
func (w *Watch) repair(local netip.Addr, lacking []uint32, known map[uint32]bool) {
	var deleted []uint32
	for _, spi := range lacking {
		if known[spi] {
			deleted = append(deleted, spi)
		}
	}
	if len(deleted) > 0 {
		w.log.Warn("somebody deleted ESP states of established SAs: renewing the SAs",
			"local", local, "states", len(deleted))
		w.charon.Repair(deleted)
	}
}

// removeOrphans removes those of the suspects that charon does not know. It returns an error if it
// cannot.
func (w *Watch) removeOrphans(
	local netip.Addr, suspects []xfrm.ESPState, known map[uint32]bool,
) error {
	var orphans []xfrm.ESPState
	for _, s := range suspects {
		if !known[s.SPI] {
			orphans = append(orphans, s)
		}
	}
	if len(orphans) == 0 {
		return nil
	}
	w.log.Info("removing ESP states of an earlier charon", "local", local, "states", len(orphans))
	return w.kernel.DeleteStates(orphans)
}

// unexplained returns the states that may carry our GRE and belong to none of our SAs. It leaves
// out young states, which charon may have made just now, and states without a request ID, which
// somebody keyed by hand: charon's states have one.
func unexplained(states []xfrm.ESPState, sas []vici.SA) []xfrm.ESPState {
	ours := make(map[uint32]bool)
	for _, sa := range sas {
		for _, child := range sa.Children {
			ours[child.SPIIn], ours[child.SPIOut] = true, true
		}
	}
	var out []xfrm.ESPState
	for _, s := range states {
		if s.GRE && s.ReqID != 0 && !ours[s.SPI] && time.Since(s.Added) >= SettlingTime {
			out = append(out, s)
		}
	}
	return out
}

// ofPeersWithSAs returns those of the states whose peers have one of our SAs.
func ofPeersWithSAs(states []xfrm.ESPState, sas []vici.SA) []xfrm.ESPState {
	secured := make(map[netip.Addr]bool, len(sas))
	for _, sa := range sas {
		if len(sa.Children) > 0 {
			secured[sa.RemoteHost] = true
		}
	}
	return slices.DeleteFunc(states, func(s xfrm.ESPState) bool {
		return !secured[s.Src] && !secured[s.Dst]
	})
}

// without returns the SPIs of our installed CHILD_SAs from the address local for which the kernel
// has no state.
func without(states []xfrm.ESPState, sas []vici.SA, local netip.Addr) []uint32 {
	there := make(map[uint32]bool, len(states))
	for _, s := range states {
		there[s.SPI] = true
	}
	var spis []uint32
	for _, sa := range sas {
		if sa.LocalHost != local {
			continue
		}
		for _, child := range sa.Children {
			if child.State != "INSTALLED" || time.Since(child.Installed) < childAge {
				continue
			}
			for _, spi := range []uint32{child.SPIIn, child.SPIOut} {
				if !there[spi] {
					spis = append(spis, spi)
				}
			}
		}
	}
	return spis
}

// Counts has what ESP states counted, by direction and SPI. The receiver chooses an SPI, so both
// directions may use the same one.
type Counts struct{ In, Out map[uint32]vici.Count }

// NewCounts returns an empty Counts.
func NewCounts() Counts { return Counts{make(map[uint32]vici.Count), make(map[uint32]vici.Count)} }

// Add adds the states from and to a local address.
func (b Counts) Add(local netip.Addr, states []xfrm.ESPState) {
	for _, s := range states {
		if s.Dst == local {
			b.In[s.SPI] = vici.Count{Bytes: s.Bytes, Packets: s.Packets}
		} else {
			b.Out[s.SPI] = vici.Count{Bytes: s.Bytes, Packets: s.Packets}
		}
	}
}
