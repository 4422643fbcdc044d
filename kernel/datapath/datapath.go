package datapath

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"
)

// Modes: how the daemon learns what passes over a tunnel.
const (
	ModeEBPF  = "ebpf"  // by eBPF programs on the tunnel device; needs Linux 5.8
	ModeNFLOG = "nflog" // by packets that the user's firewall rule logs; there are no use times
)

// ErrNoAdmission is returned by Path.Admit with ModeNFLOG. Every peer may then send data, whatever
// the daemon wants.
var ErrNoAdmission = errors.New("admission needs eBPF on the tunnel device")

// ErrNoUse is returned by Path.Use if there are no last-use times. The byte counters of the peers'
// SAs can serve instead.
var ErrNoUse = errors.New("last-use times need eBPF on the tunnel device")

// Redirect is a packet that arrived from the tunnel and that the kernel forwards back into the
// tunnel.
type Redirect struct {
	// From is the outer source, the NBMA address of the router that sent the packet. It is zero if
	// the kernel does not report it.
	From netip.Addr

	// Packet holds the first bytes of the packet, from the inner IP header on: at most 256 with
	// eBPF, and as many as the firewall rule copies with NFLOG.
	Packet []byte
}

// Use says when data last passed to and from an NBMA address since the programs were attached. A
// zero time means never. NHRP packets and multicast are not data. Two readings of the same time may
// differ by microseconds.
type Use struct {
	NBMA netip.Addr
	Out  time.Time
	In   time.Time
}

// Stats counts packets since the programs were attached.
type Stats struct {
	// Redirects.

	Sampled   uint64 // handed to the daemon
	Limited   uint64 // not handed on, because of SampleRate.PerSecond
	OverShare uint64 // not handed on, because of SampleRate.PerSource
	Lost      uint64 // not handed on, because the daemon was too slow
	Foreign   uint64 // NFLOG only: logged packets that are no redirects, or are damaged

	// Received data that was dropped.

	NotAdmitted uint64 // its outer source is not admitted
	WrongSource uint64 // the way back to its inner source does not lead to the peer that sent it
	Looped      uint64 // it came from a next hop server and would go back to that server

	// Data to a marked peer that was dropped.

	NoMark uint64 // SetMarked has not named the peer, or has removed it
	NoWay  uint64 // the companion device is missing

	NoLink uint64 // the receiver is at an IPv6 address, and has no device of its own
	// NoOwner counts packets that arrived by the device of a peer that the programs do not know.
	NoOwner uint64

	// Unclaimed counts received GRE packets that no tunnel claims. The kernel gives all of them to
	// the companion device, which drops them.
	Unclaimed uint64

	// NHRPFlood counts NHRP packets that were dropped because of NHRPRate.
	NHRPFlood uint64

	// MSSLowered counts TCP packets whose maximum segment size was lowered because of Config.MSS.
	MSSLowered uint64

	// Restored counts programs on devices, and entries of the programs' tables, that a comparison
	// found missing or changed and corrected.
	Restored uint64
}

// State is the state of a Path at its last comparison with the kernel.
type State struct {
	// Mode is ModeEBPF if the daemon's program is at the tunnel's ingress, and otherwise ModeNFLOG.
	// It is empty if neither works, so that nothing is sampled.
	Mode string

	Admission bool   // data passes from admitted peers only
	Reason    string // why the mode is not ModeEBPF, and what to do
	Fault     string // what else is wrong; Run tries to correct it

	// Ahead names other programs' filters that run before the daemon's. Such a filter may let data
	// pass that the daemon's program would drop. It is set only with Admission.
	Ahead string

	Marks string // why marks do not work although they are wanted
}

// SampleRate limits the redirects of a tunnel device.
type SampleRate struct {
	// First is the least time between the first two samples of a flow. The time doubles from each
	// sample to the next. 0: 1 s.
	First time.Duration

	Last      time.Duration // the longest time between two samples of a flow; 0: 8 s
	PerSecond int           // the most samples of all flows in a second; 0: 1,000

	// PerSource is the most samples of one outer source or marked peer in a second. 0: a tenth of
	// PerSecond.
	PerSource int
}

// NHRPRate limits the NHRP packets of one outer source or marked peer. Next hop servers have no
// limit. The limit is needed because all peers share the receive buffer of the socket. The kernel
// charges the buffer with the memory of a packet, which the limit takes to be the length of the
// packet with its outer header and 768 bytes more.
type NHRPRate struct {
	PerSecond int // bytes in a second; 0: 1,000,000, which is about 1,000 packets
	Burst     int // bytes; 0: 2,000,000, which is a sixteenth of the buffer
}

// MSS is the most that TCP connections over IPv4 and over IPv6 may be told as their maximum segment
// size. 0: it is not lowered.
type MSS struct{ IPv4, IPv6 int }

// Config says what the programs do.
type Config struct {
	Device   string // name of the gre device
	Index    int    // interface index of the gre device
	Redirect bool   // sample redirects; otherwise only use times are kept

	// Mode is the only mode to use, ModeEBPF or ModeNFLOG. If it is empty, the mode is eBPF, and
	// NFLOG while eBPF fails.
	Mode string

	// Group is the NFLOG group of the device, which no other device may have. If it is 0, the group
	// follows from the device's name.
	Group uint16

	Rate SampleRate
	NHRP NHRPRate

	Admission bool // let data pass from admitted peers only

	// SourceCheck, with Admission, also drops data if the way back to its inner source does not
	// lead to the peer that sent it.
	SourceCheck bool

	// LinkLocals is the prefix, a /64 or longer, of the overlay addresses to which link-local
	// addresses with the same last 64 bits belong. SourceCheck takes such a source for the overlay
	// address. If it is the zero prefix, SourceCheck lets link-local sources pass.
	LinkLocals netip.Prefix

	Client bool // this router has next hop servers

	MSS MSS // what the maximum segment size of TCP connections is lowered to, both ways

	// Admitted holds the peers that are admitted from the start, before the programs replace those
	// of an earlier run.
	Admitted []Admission

	// Adopt also admits the peers to which neighbours of an earlier run lead, until Settle.
	Adopt bool

	Peers int // the most peers that are admitted or marked at a time; 0: 16,384
	Links int // the most linked peers at a time; 0: 1,024

	// Changed, if not nil, is called on Run's goroutine when the state has changed. It must not
	// call Close.
	Changed func(State)
}

// Path is what the kernel does with each packet of a tunnel device. It reports what passes, lets
// only admitted peers send data, and sends packets for marked peers through the SAs of those peers.
// Its methods may be called from several goroutines, but Run from only one at a time.
type Path interface {
	// State returns the state at the last comparison with the kernel. Close does not change it.
	State() State
	// Run keeps the programs, their tables and the companion device as they are wanted, whatever
	// other programs do to them. Meanwhile it calls f with each redirect. The Packet of a Redirect
	// is valid until f returns. Run returns nil when ctx ends or after Close.
	Run(ctx context.Context, f func(Redirect)) error
	// Use returns the last use of all peers since the programs were attached, in no particular
	// order, or ErrNoUse. If the programs were missing from the device for a time, they did not see
	// the use in that time. Use then returns the time of their return in place of an earlier use.
	Use() ([]Use, error)
	// Sent returns what was sent to all peers since the programs were attached, in no particular
	// order, or ErrNoSent.
	Sent() ([]Sent, error)
	// Admit changes which peers may send data. If the kernel refuses a change, Run tries again, and
	// State shows the reason. If the configuration chose ModeNFLOG, Admit returns ErrNoAdmission.
	Admit(changes []Admission) error
	// Settle dismisses the peers that only Config.Adopt admitted.
	Settle() error
	// EnableMarks makes it possible to send to marked peers. It returns ErrNoMarks or
	// ErrCompanionTaken if that is not possible.
	EnableMarks() error
	// SetMarked maps the MarkedNBMA addresses of marked peers to their outer addresses. The zero
	// address removes a peer. Peers that are not in the map stay as they are. The first call
	// enables marks.
	SetMarked(peers map[netip.Addr]netip.Addr) error
	// Companion sets up the companion device unless it is there, and returns how programs of other
	// packages send through it. It returns ErrNoCompanion or ErrCompanionTaken if that is not
	// possible. Whoever needs the device has to call Companion again after it was removed.
	Companion() (Companion, error)
	// Links returns what package peerlink needs to give peers at IPv6 addresses a way to the tunnel
	// and from it. It returns ErrNoLinks while the kernel has not taken the programs.
	Links() (Links, error)
	// Stats returns the counts so far.
	Stats() (Stats, error)
	// Close releases the maps and makes Run return. The programs stay on the device, because a stop
	// of the daemon changes nothing in the kernel. They do no harm without a reader, and the next
	// Attach replaces them. Detach removes them.
	Close() error
}

// Attach attaches the programs to the device, in the network namespace of the calling thread. They
// replace those of an earlier run. Other programs' filters on the device's clsact qdisc stay and
// keep running. If the programs cannot be attached, Attach returns the error with ModeEBPF;
// otherwise it logs the reason, and NFLOG is used until Run succeeds.
func Attach(log *slog.Logger, cfg Config) (Path, error) {
	cfg.setDefaults()
	if cfg.Mode == ModeNFLOG {
		return attachFallback(log, cfg, "chosen by the configuration")
	}
	s := newEBPFPath(log, cfg)
	err := s.attach()
	if err != nil && cfg.Mode == ModeEBPF {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// attachFallback returns the Path without eBPF. It removes the programs of an earlier run, since
// they would never learn of newly admitted peers.
func attachFallback(log *slog.Logger, cfg Config, reason string) (Path, error) {
	if err := Detach(cfg.Device); err != nil {
		log.Warn("programs of an earlier run are left on the tunnel and may drop data of new peers: remove them (tc qdisc del dev DEVICE clsact)",
			"interface", cfg.Device, "error", err)
	}
	return attachNFLOG(log, cfg, reason)
}

// setDefaults replaces zero values by the defaults.
func (cfg *Config) setDefaults() {
	if cfg.Rate.First <= 0 {
		cfg.Rate.First = time.Second
	}
	if cfg.Rate.Last <= 0 {
		cfg.Rate.Last = 8 * time.Second
	}
	if cfg.Rate.PerSecond <= 0 {
		cfg.Rate.PerSecond = 1000
	}
	if cfg.Rate.PerSource <= 0 {
		cfg.Rate.PerSource = max(1, cfg.Rate.PerSecond/10)
	}
	if cfg.NHRP.PerSecond <= 0 {
		cfg.NHRP.PerSecond = 1_000_000
	}
	if cfg.NHRP.Burst <= 0 {
		cfg.NHRP.Burst = 2_000_000
	}
	if cfg.Group == 0 {
		cfg.Group = nflogGroup(cfg.Device)
	}
	if cfg.Peers <= 0 {
		cfg.Peers = 16384
	}
	if cfg.Links <= 0 {
		cfg.Links = 1024
	}
}
