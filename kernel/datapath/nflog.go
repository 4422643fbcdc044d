package datapath

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nflogCopy is the most bytes of a packet that the kernel hands on.
const nflogCopy = 256

// nfgenmsgLen is the size in bytes of the header of netfilter's messages: address family, version
// and resource number.
const nfgenmsgLen = 4

// Constants of linux/netfilter/nfnetlink_log.h: the message types, the attributes of a packet, and
// the attributes and values of a configuration.
const (
	nflogPacket = unix.NFNL_SUBSYS_ULOG << 8
	nflogConfig = unix.NFNL_SUBSYS_ULOG<<8 | 1

	nfulaIndexIn  = 4
	nfulaIndexOut = 5
	nfulaHWAddr   = 8
	nfulaPayload  = 9

	nfulaConfigCommand   = 1
	nfulaConfigMode      = 2
	nfulaConfigThreshold = 5
	nfulnlBind           = 1
	nfulnlCopyPacket     = 2
)

// nflogPath is the Path without eBPF. It gets redirects from a firewall rule with the target NFLOG,
// which the user adds.
type nflogPath struct {
	conn   *netlink.Conn   // nil: redirects are not wanted
	index  uint32          // of the tunnel device
	reason string          // why the mode is ModeNFLOG
	closed context.Context // ended by close
	close  context.CancelFunc

	sampled, lost, foreign atomic.Uint64
}

// attachNFLOG returns the Path without eBPF. If redirects are wanted, it opens the NFLOG group and
// logs the firewall rule that the user has to add. reason says why the mode is ModeNFLOG.
func attachNFLOG(log *slog.Logger, cfg Config, reason string) (*nflogPath, error) {
	s := &nflogPath{index: uint32(cfg.Index), reason: reason}
	s.closed, s.close = context.WithCancel(context.Background())
	if !cfg.Redirect {
		return s, nil
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, rtnl.Explain(err, "open nfnetlink")
	}
	if err := bindNFLOG(conn, cfg.Group); err != nil {
		return nil, errors.Join(explainNFLOG(err, cfg.Group), conn.Close())
	}
	s.conn = conn
	log.Info("redirects come from NFLOG: the firewall must have this rule, and the same for ip6tables",
		"interface", cfg.Device, "rule", nflogRule(cfg))
	return s, nil
}

// explainNFLOG adds to an error what the user can do about it.
func explainNFLOG(err error, group uint16) error {
	err = fmt.Errorf("take packets of NFLOG group %d: %w", group, err)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EBUSY):
		// The kernel returns one or the other if another program has the group.
		return fmt.Errorf("%w (another program has this group, or CAP_NET_ADMIN is missing; with another name the interface gets another group)", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w (load the module: modprobe nfnetlink_log)", err)
	}
	return err
}

// firstNFLOGGroup is the lowest group that the daemon chooses. It is above the groups that people
// choose by hand.
const firstNFLOGGroup = 1024

// nflogGroup returns the NFLOG group of a device. Each device has its own group, because only one
// socket can have a group. The group depends only on the device's name: a firewall rule names the
// group, and must stay right when other tunnels come and go.
func nflogGroup(device string) uint16 {
	hash := fnv.New32a()
	hash.Write([]byte(device))
	return uint16(firstNFLOGGroup + hash.Sum32()%(1<<16-firstNFLOGGroup))
}

// nflogRule returns the firewall rule that the user has to add.
func nflogRule(cfg Config) string {
	return fmt.Sprintf("iptables -I FORWARD -i %[1]s -o %[1]s -m hashlimit --hashlimit-upto 1/second --hashlimit-burst 1 "+
		"--hashlimit-mode srcip,dstip --hashlimit-name %[1]s -j NFLOG --nflog-group %[2]d --nflog-size 128",
		cfg.Device, cfg.Group)
}

// bindNFLOG has the kernel deliver the packets of a group to the connection. It has the kernel
// deliver each packet at once; by default the kernel collects packets for up to a second.
func bindNFLOG(conn *netlink.Conn, group uint16) error {
	mode := binary.BigEndian.AppendUint32(nil, nflogCopy)
	mode = append(mode, nfulnlCopyPacket, 0)
	steps := []netlink.Attribute{
		{Type: nfulaConfigCommand, Data: []byte{nfulnlBind}},
		{Type: nfulaConfigMode, Data: mode},
		{Type: nfulaConfigThreshold, Data: []byte{0, 0, 0, 1}},
	}
	for _, step := range steps {
		attributes, err := netlink.MarshalAttributes([]netlink.Attribute{step})
		if err != nil {
			return err
		}
		header := binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, group)
		_, err = conn.Execute(netlink.Message{
			Header: netlink.Header{Type: nflogConfig, Flags: netlink.Request | netlink.Acknowledge},
			Data:   append(header, attributes...),
		})
		if err != nil {
			return err
		}
	}
	return conn.SetReadBuffer(4 << 20)
}

// State implements Path.
func (s *nflogPath) State() State { return State{Mode: ModeNFLOG, Reason: s.reason} }

// Run implements Path.
func (s *nflogPath) Run(ctx context.Context, f func(Redirect)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closed, cancel)()
	if s.conn == nil {
		<-ctx.Done()
		return nil
	}
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		return s.runError(ctx, err)
	}
	defer context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Unix(0, 1)) })()
	for {
		messages, err := s.conn.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			s.lost.Add(1)
			continue
		case err != nil:
			return s.runError(ctx, err)
		}
		for _, m := range messages {
			s.take(m, f)
		}
	}
}

// runError returns nil if the error came because Run has to end, and otherwise the error with what
// was being done.
func (s *nflogPath) runError(ctx context.Context, err error) error {
	if ctx.Err() != nil || s.closed.Err() != nil {
		return nil
	}
	return fmt.Errorf("read redirects: %w", err)
}

// take calls f with the redirect of a message, and counts it.
func (s *nflogPath) take(m netlink.Message, f func(Redirect)) {
	if m.Header.Type != nflogPacket {
		return
	}
	r, ok := parseNFLOG(m.Data, s.index)
	if !ok {
		s.foreign.Add(1)
		return
	}
	s.sampled.Add(1)
	f(r)
}

// parseNFLOG reads a logged packet. It returns false unless the packet is a redirect: it arrived on
// the device with this index, and leaves by it. The user's rule may match other packets.
func parseNFLOG(b []byte, index uint32) (r Redirect, ok bool) {
	if len(b) < nfgenmsgLen {
		return Redirect{}, false
	}
	attributes, err := netlink.NewAttributeDecoder(b[nfgenmsgLen:])
	if err != nil {
		return Redirect{}, false
	}
	attributes.ByteOrder = binary.BigEndian
	var in, out uint32
	for attributes.Next() {
		switch attributes.Type() {
		case nfulaIndexIn:
			in = attributes.Uint32()
		case nfulaIndexOut:
			out = attributes.Uint32()
		case nfulaHWAddr:
			r.From = hardwareAddress(attributes.Bytes())
		case nfulaPayload:
			r.Packet = attributes.Bytes()
		}
	}
	return r, attributes.Err() == nil && in == index && out == index && len(r.Packet) > 0
}

// hardwareAddress reads struct nfulnl_msg_packet_hw, the link-layer source of a packet. On a gre
// device that is the outer source address.
func hardwareAddress(b []byte) netip.Addr {
	if len(b) < 8 || binary.BigEndian.Uint16(b) != 4 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(b[4:8]))
}

// Sent returns ErrNoSent: NFLOG does not count what is sent.
func (s *nflogPath) Sent() ([]Sent, error) { return nil, ErrNoSent }

// Use returns ErrNoUse: NFLOG keeps no last-use times.
func (s *nflogPath) Use() ([]Use, error) { return nil, ErrNoUse }

// Admit returns ErrNoAdmission: without eBPF every peer may send data.
func (s *nflogPath) Admit([]Admission) error { return ErrNoAdmission }

// Settle does nothing, since without eBPF no peer was adopted.
func (s *nflogPath) Settle() error { return nil }

// EnableMarks returns ErrNoMarks: marks need eBPF.
func (s *nflogPath) EnableMarks() error {
	return fmt.Errorf("%w: the tunnel has no eBPF programs", ErrNoMarks)
}

// Companion returns ErrNoCompanion: programs that send through it need eBPF.
func (s *nflogPath) Companion() (Companion, error) {
	return Companion{}, fmt.Errorf("%w: the tunnel has no eBPF programs", ErrNoCompanion)
}

// Links returns ErrNoLinks: links need eBPF.
func (s *nflogPath) Links() (Links, error) { return Links{}, ErrNoLinks }

// SetMarked returns ErrNoMarks: marks need eBPF.
func (s *nflogPath) SetMarked(map[netip.Addr]netip.Addr) error { return s.EnableMarks() }

// Stats implements Path.
func (s *nflogPath) Stats() (Stats, error) {
	return Stats{
		Sampled: s.sampled.Load(),
		Lost:    s.lost.Load(),
		Foreign: s.foreign.Load(),
	}, nil
}

// Close implements Path.
func (s *nflogPath) Close() error {
	s.close()
	if s.conn == nil {
		return nil
	}
	return s.conn.Close()
}
