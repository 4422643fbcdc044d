// Package multicast replicates what is sent to groups over an mGRE tunnel: eBPF programs at the
// tunnel's egress send each peer of a list a copy of its own, by unicast and through the peer's own
// SA, whatever the daemon does meanwhile.
//
// The package knows the tunnel by its name and index, and sends through the companion device of
// kernel/datapath, which also counts the copies (datapath.Path.Sent). Copies are no use of a peer:
// hellos of a routing protocol must not keep a shortcut alive.
package multicast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"cygnet/kernel/datapath"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/tc"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Peer is a receiver of what is sent to groups. Several peers may be behind one outer address, each
// with a mark of its own.
type Peer struct {
	Outer netip.Addr // IPv4, or IPv6 with a link
	Mark  uint32     // of the SAs with the peer; 0: they have none
	Link  int        // index of the device of a peer at an IPv6 address; 0: it has none
}

// Change changes the list of peers.
type Change struct {
	Peer   Peer
	Delete bool
}

// Rate limits what is replicated. It counts the packets that are sent to groups, not the copies.
// Each of two classes has the whole rate: groups of the link (224.0.0.0/24 and ff02::/16), which
// routing protocols use, and all others. So a flow of data does not keep hellos from the peers. A
// class may take its rate of one second at once.
type Rate struct {
	Packets int // in a second; 0: no limit
	Bytes   int // in a second, with the tunnel's header; 0: no limit
}

// Groups says which groups are replicated. The longest prefix that has the group decides. A group
// that neither list has passes if Allow is empty.
type Groups struct {
	Allow []netip.Prefix
	Deny  []netip.Prefix
}

// Modes: how a tunnel replicates.
const (
	ModeEBPF = "ebpf" // by programs on the tunnel, which go on while the daemon is stopped

	// ModeUserSpace is by packet sockets of the daemon: only what this host itself sends, and not
	// to peers with marks.
	ModeUserSpace = "user space"
)

// Limits of a Config.
const (
	MaxPeers    = 1 << 15 // the most peers that a list has room for
	MaxPrefixes = 64      // the most prefixes of Groups
)

// defaultPeers is how many peers a list has room for if Config.MaxPeers is 0.
const defaultPeers = 1 << 14

// Config says what is replicated over a tunnel.
type Config struct {
	Device string // name of the gre device
	Index  int    // interface index of the gre device

	// Companion is datapath.Path.Companion of the tunnel's path. If the daemon attaches another
	// path, it has to attach another Replicator.
	Companion func() (datapath.Companion, error)

	// Mode is the only mode to use. If it is empty, the mode is eBPF, and user space as long as the
	// programs have never been on the tunnel.
	Mode string

	// Peers is the list at the start. It is complete before the programs take over from those of an
	// earlier run, so that peers of both runs miss nothing.
	Peers []Peer

	MaxPeers int // the most peers that the list takes; 0: 16,384

	Groups Groups
	Rate   Rate

	// Relay also replicates packets that came in from the tunnel and that a multicast router on
	// this host sends into it again. The peer that sent such a packet gets a copy as well; its
	// reverse path check drops it. Without Relay they are dropped. Relay needs
	// datapath.Config.Admission: nothing else keeps packets of other routers from all peers.
	Relay bool

	// Changed, if not nil, is called on Run's goroutine when the state has changed. It must not
	// call Close.
	Changed func(State)
}

// State is the state of a Replicator at its last comparison with the kernel.
type State struct {
	// Mode is ModeEBPF if the programs are on the tunnel, or ModeUserSpace. It is empty if nothing
	// replicates.
	Mode string

	Peers   int    // in the list that is used
	Filters int    // of the chain on the tunnel, the first one included
	Reason  string // why the mode is not ModeEBPF although it could be, and what to do

	// Fault says what is wrong; Run tries to correct it. If there is a mode, some peers may miss
	// packets.
	Fault string

	// Ahead names other programs' filters that run before the chain. Such a filter may take packets
	// away.
	Ahead string
}

// Replicator keeps the programs that replicate on a tunnel. Its methods may be called from several
// goroutines, but Run from only one at a time.
type Replicator struct {
	log *slog.Logger
	cfg Config

	closed context.Context // ended by close
	close  context.CancelFunc
	wake   chan struct{} // receives a value when Run has to compare soon

	// keeping is held during a comparison, and by Close. Lock it before mu. It guards the fields
	// before mu.
	keeping sync.Mutex
	slot    slot   // where the chain is; 0: nowhere yet
	links   int    // filters behind the first one that the chain has had
	placed  bool   // the chain has been complete
	sole    bool   // no chain of an earlier run is left
	pending bool   // the programs do not have the newest list
	written uint64 // list.changes of the newest list that the programs have had

	// last is what the last comparison found; nil: something was wrong. Then a change of the list
	// needs a comparison of everything.
	last *finding

	mu     sync.Mutex // guards the fields below
	loaded *loaded    // nil: the kernel has not taken the programs; changed with keeping held, too
	user   *userSpace // nil: not in use; changed with keeping held, too
	peers  list
	way    bpfWay // as of the last comparison
	state  State

	past     Stats  // counts of user space that has ended
	restored uint64 // see Stats
	lost     error  // why user space has ended by itself
}

// errPeer is the reason why Want refuses a peer.
var errPeer = errors.New("not an address of the tunnel's underlay")

// errTooMany means that there are more peers than the list takes.
var errTooMany = errors.New("the list is full")

// errConfig means that a Config cannot be carried out.
var errConfig = errors.New("the settings of multicast do not fit")

// Attach attaches the programs to the tunnel, in the network namespace of the calling thread. They
// take over from those of an earlier run without a gap and without a second copy. Other programs'
// filters on the tunnel stay. If the kernel does not take the programs, State has the reason, Run
// tries again, and user space replicates meanwhile, in place of the programs of an earlier run.
// Attach returns an error if the Config cannot be carried out.
//
// A Replicator of this process on the same tunnel has to be closed before.
func Attach(log *slog.Logger, cfg Config) (*Replicator, error) {
	if cfg.MaxPeers <= 0 {
		cfg.MaxPeers = defaultPeers
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	r := &Replicator{
		log:  log.With("interface", cfg.Device),
		cfg:  cfg,
		wake: make(chan struct{}, 1),
	}
	r.closed, r.close = context.WithCancel(context.Background())
	var changes []Change
	for _, p := range cfg.Peers {
		changes = append(changes, Change{Peer: p})
	}
	if err := r.peers.change(changes, cfg.MaxPeers); err != nil {
		r.log.Warn("some peers get nothing that is sent to groups", "error", err)
	}
	_ = r.reconcile(causeAttach) // State has the error
	return r, nil
}

// check returns an error if the Config cannot be carried out.
func (cfg *Config) check() error {
	if cfg.MaxPeers > MaxPeers {
		return fmt.Errorf("%w: %d peers, at most %d", errConfig, cfg.MaxPeers, MaxPeers)
	}
	if cfg.Mode != "" && cfg.Mode != ModeEBPF && cfg.Mode != ModeUserSpace {
		return fmt.Errorf("%w: the mode %q", errConfig, cfg.Mode)
	}
	if cfg.Rate.Packets < 0 || cfg.Rate.Bytes < 0 {
		return fmt.Errorf("%w: a rate below 0", errConfig)
	}
	_, err := cfg.Groups.rules()
	return err
}

// Want changes the list of peers. It does not wait for the kernel: Run writes the list soon, all
// changes of a moment at once, which takes 1 to 5 ms for 8,000 peers. Peers that stay in the list
// lose nothing and get nothing twice. Want returns an error that names the peers it refuses.
func (r *Replicator) Want(changes []Change) error {
	r.mu.Lock()
	err := r.peers.change(changes, r.cfg.MaxPeers)
	r.mu.Unlock()
	r.requestComparison()
	return err
}

// requestComparison has Run compare soon.
func (r *Replicator) requestComparison() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run keeps the programs, their tables and the way to the companion device as they are wanted,
// whatever other programs do to them, until ctx ends or Close is called. It returns an error only
// if trying again is useless.
func (r *Replicator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.closed, cancel)()
	notices, err := tc.Listen(ctx, r.log)
	if err != nil {
		return fmt.Errorf("keep the programs that replicate on %s: %w", r.cfg.Device, err)
	}
	tc.Keep(ctx, notices, r.concerns, r.wake, r.reconcile)
	return nil
}

// concerns reports whether a notification may mean that the chain or the companion device has
// changed.
func (r *Replicator) concerns(n rtnl.Notice) bool {
	r.mu.Lock()
	companion := int(r.way.Companion)
	r.mu.Unlock()
	if tc.Touched(n, r.cfg.Index, companion) {
		return true
	}
	for _, m := range n.Messages {
		if isCompanion(m) {
			return true
		}
	}
	return false
}

// isCompanion reports whether a message says that there is a GRE device in external mode, as the
// companion device is.
func isCompanion(m netlink.Message) bool {
	if m.Header.Type != unix.RTM_NEWLINK {
		return false
	}
	l, ok := rtnl.ParseLink(m)
	return ok && l.Kind == rtnl.KindGRE && l.External
}

// State returns the state at the last comparison with the kernel. Close does not change it.
func (r *Replicator) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Close releases the programs and tables and makes Run return. The chain stays on the tunnel and
// goes on with the list that it has, because a stop of the daemon changes nothing in the kernel.
// The next Attach takes over from it. Detach removes it.
func (r *Replicator) Close() error {
	r.close()
	r.keeping.Lock()
	defer r.keeping.Unlock()
	failed := r.endUserSpace()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loaded != nil {
		failed = errors.Join(failed, r.loaded.close())
		r.loaded = nil
	}
	return failed
}
