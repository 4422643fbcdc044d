package multicast

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"cygnet/kernel/rtnl"

	"golang.org/x/sys/unix"
)

// userSpace replicates without eBPF. A packet socket reads what this host sends to groups on the
// tunnel. The packet itself goes on to the guard, which stops it: nobody has its outer address.
// Another socket sends the copies, many with one system call.
//
// It does less than the programs do. It replicates only packets with a source of this host, because
// without programs nothing checks who sends what comes in from the tunnel. It cannot send to peers
// with marks. And it ends with the daemon.
type userSpace struct {
	cfg    *Config
	groups bpfRules
	reader *groupReader
	sender *copySender
	task   sync.WaitGroup
	failed func(error) // is called when reading ends with an error

	// peers returns the list of peers and its number, or no list if the number is the given one.
	peers func(have uint64) ([]Peer, uint64)
	owned func() map[netip.Addr]bool // returns the addresses of this host; nil: not to be read

	// What only the goroutine that reads uses.
	changes uint64              // list.changes of the peers that sender has; 0: none yet
	buckets [2]bucket           // what each class took of the rate
	own     map[netip.Addr]bool // addresses of this host
	looked  time.Time           // when own was read

	mu    sync.Mutex
	stats Stats
}

// class is a class of groups, which has the whole rate for itself; see Rate.
type class int

const (
	control class = iota
	data
)

// openUserSpace begins to replicate.
func openUserSpace(
	cfg *Config, peers func(uint64) ([]Peer, uint64), failed func(error),
) (*userSpace, error) {
	groups, err := cfg.Groups.rules()
	if err != nil {
		return nil, err
	}
	index, err := tunnelIndex(cfg)
	if err != nil {
		return nil, err
	}
	u := &userSpace{
		cfg: cfg, groups: groups, peers: peers, failed: failed, owned: hostAddresses,
	}
	if u.sender, err = openSender(index); err != nil {
		return nil, err
	}
	if u.reader, err = openReader(index); err != nil {
		return nil, errors.Join(err, u.sender.close())
	}
	u.task.Go(u.read)
	return u, nil
}

// tunnelIndex returns the index of the tunnel.
func tunnelIndex(cfg *Config) (int, error) {
	r, err := rtnl.Open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	l, err := r.LinkByName(cfg.Device)
	switch {
	case err != nil:
		return 0, err
	case l == nil || l.Index != cfg.Index:
		return 0, fmt.Errorf("find the device %s: %w", cfg.Device, unix.ENODEV)
	case l.Kind != rtnl.KindGRE:
		return 0, fmt.Errorf("%w: %s is no gre device", errConfig, cfg.Device)
	}
	return l.Index, nil
}

// close ends the replication. It waits for a packet that is being replicated.
func (u *userSpace) close() error {
	err := u.reader.close()
	u.task.Wait()
	return errors.Join(err, u.sender.close())
}

// count returns the counts so far.
func (u *userSpace) count() Stats {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stats
}

// read replicates until the socket is closed or fails.
func (u *userSpace) read() {
	buffer := make([]byte, maxFrame)
	for {
		n, err := u.reader.next(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if errors.Is(err, unix.ENETDOWN) {
			continue // reported once; the socket works again when the device is up
		}
		if err != nil {
			u.failed(fmt.Errorf("read what is sent to groups on %s: %w", u.cfg.Device, err))
			return
		}
		u.take(buffer[:n], time.Now())
	}
}

// take replicates one packet, or counts why it does not.
func (u *userSpace) take(frame []byte, now time.Time) {
	p, ok := parseFrame(frame)
	if !ok {
		return
	}
	if peers, changes := u.peers(u.changes); changes != u.changes {
		u.sender.address(peers)
		u.changes = changes
	}
	u.mu.Lock() // after peers, which takes a lock of its own
	defer u.mu.Unlock()
	if drop := u.decide(&p, len(frame), now); drop != nil {
		*drop++
		return
	}
	u.stats.Taken++
	if u.sender.empty() {
		u.stats.NoPeer++
		return
	}
	sent, refused := u.sender.send(p.kind, p.inner)
	u.stats.Copies += uint64(sent)
	u.stats.Refused += uint64(refused)
}

// decide returns the counter of the reason why a packet is not replicated, or nil. mu is held.
func (u *userSpace) decide(p *groupPacket, length int, now time.Time) *uint64 {
	switch {
	case p.discovery:
		return &u.stats.Discovery
	case !u.isOwn(p.source, now):
		return &u.stats.Returned
	case !passes(&u.groups, p.group):
		return &u.stats.Filtered
	case !u.buckets[p.class].take(u.cfg.Rate, length, now):
		return &u.stats.OverRate
	}
	return nil
}

// ownPause is the least time between two readings of this host's addresses.
const ownPause = time.Second

// isOwn reports whether this host has the source address of a packet. mu is held.
func (u *userSpace) isOwn(source netip.Addr, now time.Time) bool {
	if source.IsUnspecified() || u.own[source] {
		return true
	}
	if now.Sub(u.looked) < ownPause {
		return false
	}
	u.looked = now
	if own := u.owned(); own != nil {
		u.own = own
	}
	return u.own[source]
}

// hostAddresses returns the addresses of this host, or nil if they cannot be read.
func hostAddresses() map[netip.Addr]bool {
	r, err := rtnl.Open()
	if err != nil {
		return nil
	}
	defer r.Close()
	all, err := r.AllAddresses()
	if err != nil {
		return nil
	}
	own := make(map[netip.Addr]bool, len(all))
	for _, a := range all {
		own[a.Prefix.Addr()] = true
	}
	return own
}

// bucket is when all that passed is paid for, as in bpf/rate.h.
type bucket struct {
	packets, bytes time.Time
}

// take takes a packet from its share of a rate, and reports whether there was room.
func (b *bucket) take(rate Rate, length int, now time.Time) bool {
	packets, bytes := latest(b.packets, now), latest(b.bytes, now)
	if uint64(packets.Sub(now)) > burst(rate.Packets) ||
		uint64(bytes.Sub(now)) > burst(rate.Bytes) {
		return false
	}
	b.packets = packets.Add(time.Duration(cost(rate.Packets)))
	b.bytes = bytes.Add(time.Duration(cost(rate.Bytes) * uint64(length)))
	return true
}

// latest returns the later of two times.
func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
