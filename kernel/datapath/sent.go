package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"cygnet/kernel/rtnl"

	"github.com/cilium/ebpf"
	vnl "github.com/vishvananda/netlink"
)

// ErrNoSent is returned by Path.Sent if packets to peers are not counted.
var ErrNoSent = errors.New("packets to each peer are counted by eBPF on the tunnel device only")

// Sent counts what a tunnel sent to an outer address. The count starts when the programs are
// attached; it starts again if the kernel drops the address from a full table. It includes NHRP,
// packets that left through the companion device, and the copies of packets to groups.
type Sent struct {
	NBMA     netip.Addr
	Packets  uint64 // that the device got
	Segments uint64 // that leave the device: a packet of a TCP flow may leave as several
}

// Sent implements Path.
func (s *ebpfPath) Sent() ([]Sent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		return nil, ErrNoSent
	}
	keys, values := make([]bpfAddress, useBatch), make([]bpfSent, useBatch)
	var sent []Sent
	var cursor ebpf.MapBatchCursor
	for done := false; !done; {
		n, err := s.objects.SentTo.BatchLookup(&cursor, keys, values, nil)
		done = errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !done {
			return nil, fmt.Errorf("read what was sent to each peer: %w", err)
		}
		for i := range n {
			nbma := netip.AddrFrom16(keys[i].B).Unmap()
			sent = append(sent, Sent{
				NBMA:     nbma,
				Packets:  values[i].Packets,
				Segments: values[i].Segments,
			})
		}
	}
	return sent, nil
}

// Unsent counts packets that a tunnel got but that did not leave through an SA. Some of them never
// came to IPsec: there was no route, they were too large for the path, the guard blocked them, or a
// queue or a filter dropped them. For the others IPsec had no SA.
type Unsent struct {
	// Packets counts since the device was made. Packets for which IPsec had no SA count since the
	// network namespace was made, and for all tunnels together.
	Packets uint64

	Queued uint64 // packets that wait in the device's queue now
}

// UnsentOf reads the counters of tunnel devices, of the companion device, which sends for all
// tunnels, and of IPsec. The counters include packets that the programs of the data path drop.
func UnsentOf(tunnels ...string) (Unsent, error) {
	var u Unsent
	h, err := vnl.NewHandle()
	if err != nil {
		return u, rtnl.Explain(err, "open netlink")
	}
	defer h.Close()
	for _, tunnel := range tunnels {
		link, err := h.LinkByName(tunnel)
		if err != nil {
			return u, fmt.Errorf("read the counters of %s: %w", tunnel, err)
		}
		if err := u.add(h, link); err != nil {
			return u, fmt.Errorf("read the counters of %s: %w", tunnel, err)
		}
	}
	if err := u.addLinks(h); err != nil {
		return u, fmt.Errorf("read the counters of the devices of IPv6 peers: %w", err)
	}
	lost, err := lostInXFRM()
	if err != nil {
		return u, err
	}
	u.Packets += lost
	r, err := rtnl.Open()
	if err != nil {
		return u, err
	}
	defer r.Close()
	companion, err := findCompanion(r)
	if err != nil || companion == nil {
		return u, err
	}
	link, err := h.LinkByName(companion.Name)
	if errors.As(err, new(vnl.LinkNotFoundError)) {
		return u, nil
	}
	if err == nil {
		err = u.add(h, link)
	}
	if err != nil {
		return u, fmt.Errorf("read the counters of %s: %w", companion.Name, err)
	}
	return u, nil
}

// addLinks adds the counters of all links (package peerlink). They have no queues.
func (u *Unsent) addLinks(h *vnl.Handle) error {
	all, err := h.LinkList()
	if err != nil {
		return err
	}
	for _, l := range all {
		if st := l.Attrs().Statistics; st != nil && strings.HasPrefix(l.Attrs().Name, LinkPrefix) {
			u.Packets += st.TxErrors + st.TxDropped
		}
	}
	return nil
}

// lostInXFRM returns how many packets of the whole network namespace were dropped because a policy
// demanded an SA for them and there was none. The kernel drops such packets without an error, so
// the tunnel counts them as sent.
func lostInXFRM() (uint64, error) {
	text, err := os.ReadFile("/proc/net/xfrm_stat")
	if err != nil {
		return 0, fmt.Errorf("read the kernel's IPsec counters: %w", err)
	}
	var sum uint64
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || fields[0] != "XfrmOutNoStates" {
			continue
		}
		n, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the kernel's IPsec counters: %w", err)
		}
		sum += n
	}
	return sum, nil
}

// add adds the counters of a device and of its qdiscs.
func (u *Unsent) add(h *vnl.Handle, link vnl.Link) error {
	if st := link.Attrs().Statistics; st != nil {
		u.Packets += st.TxErrors + st.TxDropped
	}
	qdiscs, err := h.QdiscList(link)
	if err != nil {
		return err
	}
	for _, q := range qdiscs {
		if st := q.Attrs().Statistics; st != nil && st.Queue != nil {
			u.Packets += uint64(st.Queue.Drops)
			u.Queued += uint64(st.Queue.Qlen)
		}
	}
	return nil
}
