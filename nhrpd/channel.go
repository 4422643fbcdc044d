package nhrpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/multicast"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/peeruse"
	"cygnet/nhrpd/platform"
	"cygnet/nhrpd/policymark"
	"cygnet/nhrpd/wait"
)

// channel is what the daemon has open to one tunnel device while that device exists: the NHRP
// socket and the data path.
type channel struct {
	index  int
	local  atomic.Pointer[netip.Addr] // the address that the tunnel sends from
	socket platform.Socket
	path   datapath.Path // nil if the kernel has none
	// admitted has the peers that were admitted when openPath attached path. It is nil once the
	// loop has caught up with the changes since.
	admitted []engine.AdmissionChange

	// Only the loop uses these two. replicator is nil while nothing replicates what is sent to
	// groups. attached has its first receivers, until the loop has caught up with the changes
	// since.
	replicator platform.Replicator
	attached   map[multicast.Peer]bool

	// links has the devices of the peers at IPv6 addresses; only the loop uses it, and it is nil
	// while there can be none. The rest is keepChannel's: the address that the links send from, the
	// VRF that they are bound to, and how to end their task.
	links      platform.Links
	six        netip.Addr
	vrf        int
	endLinks   context.CancelFunc
	linksEnded chan struct{}

	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// batch has the packets of one read.
type batch struct {
	iface    *iface
	messages []nhrpsocket.Message // the first n are packets
	n        int
	byPolicy []bool        // for each packet, whether the kernel's policies have its mark
	done     chan struct{} // has room for one value; the loop sends it when the turn ends
}

// batchSize is the most packets in a batch.
const batchSize = 128

// openChannel opens a channel to the tunnel's device and starts the channel's tasks. It returns an
// error if it cannot open the socket. Without a data path the channel works, and the daemon then
// has neither redirects nor admission.
func (r *runner) openChannel(ctx context.Context, st tunnel.State) (*channel, error) {
	socket, err := r.platform.Listen(st.Index)
	if err != nil {
		return nil, fmt.Errorf("open the NHRP socket on %s: %w", r.config.Name, err)
	}
	path, admitted, err := r.openPath(ctx, st.Index)
	if err != nil {
		r.log.Warn("no redirect detection and no last-use times on this tunnel", "error", err)
		path = nil
	}
	r.problems.ResolveAll(api.ProblemShortcuts, r.config.Name)
	ctx, cancel := context.WithCancel(ctx)
	ch := &channel{index: st.Index, socket: socket, path: path, admitted: admitted, cancel: cancel}
	ch.local.Store(&st.Local)
	ch.tasks.Go(func() { r.read(ctx, ch) })
	ch.tasks.Go(func() { r.readUse(ctx, ch) })
	if path != nil {
		ch.tasks.Go(func() { r.sample(ctx, ch) })
	}
	ch.tasks.Go(func() { r.replicate(ctx, ch) })
	if r.config.Shortcut {
		ch.tasks.Go(func() { r.watchMisses(ctx, ch) })
	}
	return ch, nil
}

// close closes the channel and waits for the end of its tasks. A nil channel has nothing to close.
func (ch *channel) close() {
	if ch == nil {
		return
	}
	ch.cancel()
	ch.closeLinks()
	ch.socket.Close()
	if ch.path != nil {
		ch.path.Close()
	}
	ch.tasks.Wait()
}

// read hands packets to the loop in batches. It reads a batch only when the loop has ended the turn
// of the batch before. The packets that came in that time are then one batch, and cost one wake-up,
// one read and one turn. Until then they wait in the socket's buffer. That buffer is bounded, and
// the kernel counts the packets that it drops.
func (r *runner) read(ctx context.Context, ch *channel) {
	b := &batch{
		iface:    r.iface,
		messages: make([]nhrpsocket.Message, batchSize),
		byPolicy: make([]bool, batchSize),
		done:     make(chan struct{}, 1),
	}
	marks := policymark.New(func() (map[netip.Addr]netip.Addr, error) {
		return r.platform.MarkedPeers(*ch.local.Load())
	})
	for {
		n, err := ch.socket.ReadBatch(b.messages)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			r.log.Warn("reading NHRP packets failed", "error", err)
			if !wait.For(ctx, time.Second) {
				return
			}
			continue
		}
		b.n = n
		if r.config.Protected {
			for i := range b.messages[:n] {
				m := &b.messages[i]
				b.byPolicy[i] = m.Mark != 0 && marks.Has(time.Now(), m.Mark, m.NBMA)
			}
		}
		select {
		case r.loop.batches <- b:
		case <-ctx.Done():
			return
		}
		select {
		case <-b.done:
		case <-ctx.Done():
			return
		}
	}
}

// sample hands sampled redirects to the loop. It offers them and does not wait for a place in the
// queue, because a lost one only delays a shortcut.
func (r *runner) sample(ctx context.Context, ch *channel) {
	err := ch.path.Run(ctx, func(found datapath.Redirect) {
		r.loop.offer(engine.Redirected{
			Interface: r.config.Name,
			From:      r.loop.names.PeerAt(found.From),
			Packet:    append([]byte(nil), found.Packet...),
		})
	})
	if err != nil && ctx.Err() == nil {
		r.log.Error("redirect detection ended", "error", err)
		r.problems.Report(api.Problem{
			Code:      api.ProblemShortcuts,
			Severity:  api.SeverityWarning,
			Interface: r.config.Name,
			Subject:   "redirects",
			Text:      "redirect detection ended: " + err.Error() + ": traffic stays on the hub",
			Remedy:    "systemctl restart cygnetd begins it anew",
		})
	}
}

// watchMisses hands the loop the overlay addresses for which the kernel misses a neighbour. It
// offers them and does not wait for a place in the queue: the kernel asks again in a second.
func (r *runner) watchMisses(ctx context.Context, ch *channel) {
	err := r.platform.WatchMisses(ctx, r.log, ch.index, func(protocol netip.Addr) {
		r.loop.offer(engine.Missed{Interface: r.config.Name, Protocol: protocol})
	})
	if err != nil && ctx.Err() == nil {
		r.log.Error("missing neighbours are not resolved: routes must lead to the hub",
			"error", err)
		r.problems.Report(api.Problem{
			Code:      api.ProblemShortcuts,
			Severity:  api.SeverityWarning,
			Interface: r.config.Name,
			Subject:   "misses",
			Text:      "missing neighbours are not resolved: " + err.Error(),
			Remedy:    "let routes lead to the hub, or systemctl restart cygnetd",
		})
	}
}

// readUse reads, whenever the engine asks, when each peer was last used. Where the data path does
// not count, it reads the byte counters of the SAs.
func (r *runner) readUse(ctx context.Context, ch *channel) {
	counters, group := peeruse.New(), r.loop.groups.Of(r.config.Name)
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.readUseNow:
		}
		used := engine.Used{Interface: r.config.Name}
		if uses, err := useOf(ch.path); err == nil {
			used.Exact = true
			for _, u := range uses {
				use := engine.PeerUse{ID: r.loop.names.PeerAt(u.NBMA), Out: u.Out, In: u.In}
				used.Peers = append(used.Peers, use)
			}
		} else {
			used.Peers = counters.Read(time.Now(), group, r.strongswan.SAs())
		}
		r.loop.post(ctx, used)
	}
}

// useOf returns the use of the peers by the data path. It returns an error if there is no data path
// or if the data path does not count.
func useOf(s datapath.Path) ([]datapath.Use, error) {
	if s == nil {
		return nil, datapath.ErrNoUse
	}
	return s.Use()
}

// addDrops adds, by reason, what the kernel dropped on this channel.
func (ch *channel) addDrops(dropped map[string]uint64) {
	st, err := ch.socket.Stats()
	if err != nil {
		return
	}
	for reason, n := range map[string]uint64{
		"receive buffer full":         st.Overflow,
		"longer than any NHRP packet": st.Truncated,
		"no usable outer source":      st.BadAddress,
	} {
		if n > 0 {
			dropped[reason] += n
		}
	}
	ch.addDataDrops(dropped)
	ch.addMulticastDrops(dropped)
}

// counts returns what the programs of the data path have counted; nothing if there are none.
func (ch *channel) counts() datapath.Stats {
	if ch == nil || ch.path == nil {
		return datapath.Stats{}
	}
	st, err := ch.path.Stats()
	if err != nil {
		return datapath.Stats{}
	}
	return st
}

// addDataDrops adds, by reason, the data that the programs dropped and the redirects that they
// could not report.
func (ch *channel) addDataDrops(dropped map[string]uint64) {
	if ch.path == nil {
		return
	}
	st, err := ch.path.Stats()
	if err != nil {
		return
	}
	for reason, n := range map[string]uint64{
		"data: not admitted":                                st.NotAdmitted,
		"data: wrong source":                                st.WrongSource,
		"data: would go back to the NHS that sent it":       st.Looped,
		"data: no SA with the receiver behind NAT":          st.NoMark,
		"data: no device for receivers behind NAT":          st.NoWay,
		"data: no device for a receiver at an IPv6 address": st.NoLink,
		"data: came by a device that no IPv6 peer has":      st.NoOwner,
		"data: GRE that belongs to no tunnel, received":     st.Unclaimed,
		"redirect not looked at: too many a second":         st.Limited,
		"redirect not looked at: too many of one peer":      st.OverShare,
		"NHRP: too much from one peer":                      st.NHRPFlood,
		"redirect not looked at: the daemon is busy":        st.Lost,
		"NFLOG: logged by a rule that is too broad":         st.Foreign,
	} {
		if n > 0 {
			dropped[reason] += n
		}
	}
}
