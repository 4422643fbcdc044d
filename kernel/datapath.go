package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Ways to sample what passes over a tunnel.
const (
	ModeEBPF  = "ebpf"  // eBPF programs on the tunnel device; Linux 5.8
	ModeNFLOG = "nflog" // packets that a firewall rule of the user's logs; no use times
)

// ErrNoAdmission is returned by DataPath.Admit with ModeNFLOG: every peer may send data, whatever
// the daemon wants.
var ErrNoAdmission = errors.New("admission needs eBPF on the tunnel device")

// ErrNoUse is returned by DataPath.Use where last-use times cannot be had. The byte counters of the
// peers' SAs tell instead.
var ErrNoUse = errors.New("last-use times need eBPF on the tunnel device")

// Redirect is a packet that came in from the tunnel and that the kernel forwards back into it.
type Redirect struct {
	From   netip.Addr // its outer source, the NBMA address of the router that sent it; zero where the kernel does not tell
	Packet []byte     // its first bytes from the inner IP header on, at most 256 (eBPF) or what the firewall rule copies (NFLOG)
}

// Use says when data last passed to and from an NBMA address since the programs were attached. A
// zero time means never. NHRP packets and multicast are not data. Two readings of the same time may
// differ by microseconds.
type Use struct {
	NBMA netip.Addr
	Out  time.Time
	In   time.Time
}

// DataPathStats counts packets since the programs were attached.
type DataPathStats struct {
	Sampled uint64 // redirects handed to the daemon
	Limited uint64 // redirects not handed on: more than SampleRate.PerSecond
	// redirects not handed on: more of one outer source than SampleRate.PerSource
	OverShare uint64
	Lost      uint64 // redirects not handed on: the daemon was too slow
	Foreign   uint64 // NFLOG only: the rule logged something else, or damaged packets

	// Data that was dropped.
	NotAdmitted uint64 // received: its outer source is not admitted
	WrongSource uint64 // received: the way back to its inner source does not lead to the peer that sent it
	Looped      uint64 // received from a next hop server that would get it back
	NoMark      uint64 // to be sent to a marked peer that SetMarked does not know, or not any more
	NoWay       uint64 // to be sent to a marked peer, but the companion device is missing
	Unclaimed   uint64 // received: GRE that no tunnel claims, of which the companion device gets all

	// NHRP packets that were dropped: more of one outer source than NHRPRate allows.
	NHRPFlood uint64

	// Programs on devices, and entries of the programs' tables, that a comparison found missing or
	// changed and put right.
	Restored uint64
}

// PathState tells what of a DataPath holds, as of its last comparison with the kernel.
type PathState struct {
	Mode      string // ModeEBPF: our program is at the tunnel's ingress. ModeNFLOG. Empty: neither, nothing is sampled
	Admission bool   // data passes from admitted peers only
	Reason    string // why the mode is not ModeEBPF, and what to do
	Fault     string // what else is not as it should be: it is tried again
	Ahead     string // with Admission: filters of others that run before ours, and may let data pass that it would not
	Marks     string // why peers cannot be named by marks although that was asked for
}

// SampleRate limits the redirects of a tunnel device.
type SampleRate struct {
	First     time.Duration // least time between the first two samples of a flow; it doubles from one to the next. 0: 1 s
	Last      time.Duration // where the doubling ends. 0: 8 s
	PerSecond int           // samples of all flows together. 0: 1,000
	PerSource int           // of them, of one outer source or marked peer. 0: a tenth of PerSecond
}

// NHRPRate limits the NHRP packets of one outer source or marked peer, next hop servers excepted:
// all share the socket's receive buffer. The kernel charges that with a packet's memory, which is
// taken to be its length with the outer header and 768 bytes.
type NHRPRate struct {
	PerSecond int // bytes. 0: 1,000,000, some 1,000 packets
	Burst     int // bytes. 0: 2,000,000, a sixteenth of the buffer
}

// DataPathConfig says what the programs do.
type DataPathConfig struct {
	Device   string // name of the gre device
	Index    int    // its interface index
	Redirect bool   // sample packets that turn back; otherwise only use times are kept
	Mode     string // empty: eBPF, and NFLOG where that fails. ModeEBPF or ModeNFLOG: only this one
	Group    uint16 // NFLOG group of the fallback, one for each device; 0: one that follows from the device's name
	Rate     SampleRate
	NHRP     NHRPRate

	Admission   bool        // let data pass from admitted peers only
	SourceCheck bool        // with Admission: and only with inner sources that lead back to the peer
	Client      bool        // this router has next hop servers
	Admitted    []Admission // from the start, before the programs take the place of those of an earlier run
	Adopt       bool        // until Settle, admit also whom neighbours of an earlier run lead to
	Peers       int         // the most peers that are admitted or marked at a time; 0: 16,384

	Changed func(PathState) // nil, or called by Run's goroutine when the state has changed; it must not call Close
}

// DataPath is what the kernel does with each packet of a tunnel device: it tells what passes, lets
// only admitted peers send data, and leads to peers that are named by marks. Its methods may be
// called by several goroutines, Run by one at a time.
type DataPath interface {
	// State tells what holds. Close leaves it as it was.
	State() PathState
	// Run keeps programs, tables and the companion device as they are wanted, whatever others do to
	// them, until ctx ends or Close, and returns nil then. Meanwhile it calls f with each redirect.
	// A Redirect's Packet is valid until f returns.
	Run(ctx context.Context, f func(Redirect)) error
	// Use returns the last use of all peers since attaching, in no order, or ErrNoUse. While the
	// programs were missing from the device they saw nothing: use before that counts as use when
	// they were back.
	Use() ([]Use, error)
	// Sent returns what was sent to all peers since attaching, in no order, or ErrNoSent.
	Sent() ([]Sent, error)
	// Admit changes who may send data. What the kernel refuses Run tries again, and State tells it.
	// With ModeNFLOG chosen by the configuration it returns ErrNoAdmission.
	Admit(changes []Admission) error
	// Settle stops admitting whom Adopt admitted and nobody else.
	Settle() error
	// EnableMarks sees to it that peers can be named by marks, or says why not: ErrNoMarks,
	// ErrCompanionTaken.
	EnableMarks() error
	// SetMarked says where marked peers are: it maps MarkedNBMA addresses to the addresses that the
	// world sees, or to the zero address to forget one. Those not named stay. The first call
	// enables marks.
	SetMarked(peers map[netip.Addr]netip.Addr) error
	// Stats returns the counts so far.
	Stats() (DataPathStats, error)
	// Close releases the maps and makes Run return. The programs stay on the device, as a stop of
	// the daemon leaves all else in the kernel: without a reader they do no harm, and the next
	// AttachDataPath puts its own in their place. Detach removes them.
	Close() error
}

// AttachDataPath puts the programs on the device, in the network namespace of the calling thread,
// in place of those of an earlier run. Filters of others on the device's clsact qdisc stay and keep
// running. Where that fails it logs the reason and falls back to NFLOG until Run succeeds; with
// ModeEBPF it returns the error.
func AttachDataPath(log *slog.Logger, cfg DataPathConfig) (DataPath, error) {
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

// attachFallback removes the programs of an earlier run, which nobody would tell any more whom to
// admit.
func attachFallback(log *slog.Logger, cfg DataPathConfig, reason string) (DataPath, error) {
	if err := Detach(cfg.Device); err != nil {
		log.Warn("programs of an earlier run are left on the tunnel and may drop data of new peers: remove them (tc qdisc del dev DEVICE clsact)",
			"interface", cfg.Device, "error", err)
	}
	return attachNFLOG(log, cfg, reason)
}

func (cfg *DataPathConfig) setDefaults() {
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
}

// explainEBPF adds what the user can do about it.
func explainEBPF(err error, device string) error {
	err = fmt.Errorf("sample %s with eBPF: %w", device, err)
	switch {
	case errors.As(err, new(*ebpf.VerifierError)):
		return fmt.Errorf("%w (this kernel's verifier refuses the program: please report it with the kernel's version)", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (the daemon needs CAP_BPF and CAP_NET_ADMIN, before Linux 5.11 also LimitMEMLOCK=infinity; kernel lockdown may forbid it)", err)
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w (it needs Linux 5.8 with CONFIG_BPF_SYSCALL, CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF)", err)
	}
	return err
}
