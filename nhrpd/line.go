package nhrpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
)

// line is what the daemon has open to one tunnel device while that device exists: the NHRP socket
// and the data path.
type line struct {
	index  int
	socket Socket
	path   datapath.Path // nil if the kernel has none
	// admitted has the peers that were admitted when openPath attached path. It is nil once the
	// loop has caught up with the changes since.
	admitted []engine.AdmissionChange

	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// batch has the packets of one read.
type batch struct {
	device   string
	messages []nhrpsocket.Message // the first n are packets
	n        int
	done     chan struct{} // has room for one value; the loop sends it when the turn ends
}

// batchSize is the most packets in a batch.
const batchSize = 128

// openLine opens a line to the tunnel's device and starts the line's tasks. It returns an error if
// it cannot open the socket. Without a data path the line works, and the daemon then has neither
// redirects nor admission.
func (p *port) openLine(ctx context.Context, st tunnel.State) (*line, error) {
	socket, err := p.platform.Listen(st.Index)
	if err != nil {
		return nil, fmt.Errorf("open the NHRP socket on %s: %w", p.config.Name, err)
	}
	path, admitted, err := p.openPath(ctx, st.Index)
	if err != nil {
		p.log.Warn("no redirect detection and no last-use times on this tunnel", "error", err)
		path = nil
	}
	p.problems.resolveAll(api.ProblemShortcuts, p.config.Name)
	ctx, cancel := context.WithCancel(ctx)
	ln := &line{index: st.Index, socket: socket, path: path, admitted: admitted, cancel: cancel}
	ln.tasks.Go(func() { p.read(ctx, ln) })
	ln.tasks.Go(func() { p.readUse(ctx, ln) })
	if path != nil {
		ln.tasks.Go(func() { p.sample(ctx, ln) })
	}
	if p.config.Shortcut {
		ln.tasks.Go(func() { p.watchMisses(ctx, ln) })
	}
	return ln, nil
}

// close closes the line and waits for the end of its tasks. A nil line has nothing to close.
func (ln *line) close() {
	if ln == nil {
		return
	}
	ln.cancel()
	ln.socket.Close()
	if ln.path != nil {
		ln.path.Close()
	}
	ln.tasks.Wait()
}

// read hands packets to the loop in batches. It reads a batch only when the loop has ended the turn
// of the batch before. The packets that came in that time are then one batch, and cost one wake-up,
// one read and one turn. Until then they wait in the socket's buffer. That buffer is bounded, and
// the kernel counts the packets that it drops.
func (p *port) read(ctx context.Context, ln *line) {
	b := &batch{
		device:   p.config.Name,
		messages: make([]nhrpsocket.Message, batchSize),
		done:     make(chan struct{}, 1),
	}
	for {
		n, err := ln.socket.ReadBatch(b.messages)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			p.log.Warn("reading NHRP packets failed", "error", err)
			if !pause(ctx, time.Second) {
				return
			}
			continue
		}
		b.n = n
		select {
		case p.loop.batches <- b:
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
func (p *port) sample(ctx context.Context, ln *line) {
	err := ln.path.Run(ctx, func(r datapath.Redirect) {
		p.loop.offer(engine.Redirected{
			Interface: p.config.Name,
			From:      r.From,
			Packet:    append([]byte(nil), r.Packet...),
		})
	})
	if err != nil && ctx.Err() == nil {
		p.log.Error("redirect detection ended", "error", err)
		p.problems.report(api.Problem{
			Code:      api.ProblemShortcuts,
			Severity:  api.SeverityWarning,
			Interface: p.config.Name,
			Subject:   "redirects",
			Text:      "redirect detection ended: " + err.Error() + ": traffic stays on the hub",
			Remedy:    "systemctl restart cygnetd begins it anew",
		})
	}
}

// watchMisses hands the loop the overlay addresses for which the kernel misses a neighbour. It
// offers them and does not wait for a place in the queue: the kernel asks again in a second.
func (p *port) watchMisses(ctx context.Context, ln *line) {
	err := p.platform.WatchMisses(ctx, p.log, ln.index, func(protocol netip.Addr) {
		p.loop.offer(engine.Missed{Interface: p.config.Name, Protocol: protocol})
	})
	if err != nil && ctx.Err() == nil {
		p.log.Error("missing neighbours are not resolved: routes must lead to the hub",
			"error", err)
		p.problems.report(api.Problem{
			Code:      api.ProblemShortcuts,
			Severity:  api.SeverityWarning,
			Interface: p.config.Name,
			Subject:   "misses",
			Text:      "missing neighbours are not resolved: " + err.Error(),
			Remedy:    "let routes lead to the hub, or systemctl restart cygnetd",
		})
	}
}

// readUse reads, whenever the engine asks, when each peer was last used. Where the data path cannot
// tell, it reads the byte counters of the SAs.
func (p *port) readUse(ctx context.Context, ln *line) {
	counters := newCounterUse()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.useAsked:
		}
		used := engine.Used{Interface: p.config.Name}
		if uses, err := useOf(ln.path); err == nil {
			for _, u := range uses {
				used.Peers = append(used.Peers, engine.PeerUse(u))
			}
		} else {
			used.Peers = counters.read(time.Now(), p.config.Name, p.strongswan.SAs())
		}
		p.loop.post(ctx, used)
	}
}

// useOf returns the use of the peers by the data path. It returns an error if there is no data path
// or if the data path cannot tell.
func useOf(s datapath.Path) ([]datapath.Use, error) {
	if s == nil {
		return nil, datapath.ErrNoUse
	}
	return s.Use()
}

// pause waits for d. It returns false if the context ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// addDrops adds, by reason, what the kernel dropped on this line.
func (ln *line) addDrops(dropped map[string]uint64) {
	st, err := ln.socket.Stats()
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
	ln.addDataDrops(dropped)
}

// restored returns how many programs and table entries the data path had to restore on this line.
func (ln *line) restored() uint64 {
	if ln == nil || ln.path == nil {
		return 0
	}
	st, err := ln.path.Stats()
	if err != nil {
		return 0
	}
	return st.Restored
}

// addDataDrops adds, by reason, the data that the programs dropped on this line and the redirects
// that they could not report.
func (ln *line) addDataDrops(dropped map[string]uint64) {
	if ln.path == nil {
		return
	}
	st, err := ln.path.Stats()
	if err != nil {
		return
	}
	for reason, n := range map[string]uint64{
		"data: not admitted":                            st.NotAdmitted,
		"data: wrong source":                            st.WrongSource,
		"data: would go back to the NHS that sent it":   st.Looped,
		"data: no SA with the receiver behind NAT":      st.NoMark,
		"data: no device for receivers behind NAT":      st.NoWay,
		"data: GRE that belongs to no tunnel, received": st.Unclaimed,
		"redirect not looked at: too many a second":     st.Limited,
		"redirect not looked at: too many of one peer":  st.OverShare,
		"NHRP: too much from one peer":                  st.NHRPFlood,
		"redirect not looked at: the daemon is busy":    st.Lost,
		"NFLOG: logged by a rule that is too broad":     st.Foreign,
	} {
		if n > 0 {
			dropped[reason] += n
		}
	}
}
