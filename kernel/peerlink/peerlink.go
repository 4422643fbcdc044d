// Package peerlink makes the links of a tunnel: for each peer at an IPv6 address a point-to-point
// GRE device over IPv6 of its own.
//
// Linux has no GRE device over IPv6 that works with many peers. One without a remote address
// transmits nothing. One in external mode asks for the IPsec policy without a source address, so
// that no policy for two addresses fits and packets would leave in clear. So the tunnel stays one
// GRE device over IPv4. Its neighbours name such a peer by an address of 0.254.0.0/16
// (xfrm.LinkedNBMA). The programs of package datapath move packets between the tunnel and the link
// of that name.
package peerlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/schedule"
	"cygnet/kernel/sysctl"
	"cygnet/kernel/tc"

	"golang.org/x/sys/unix"
)

const (
	// aliasPrefix begins the aliases of all links. The name of the tunnel follows. `ip link` shows
	// the alias.
	aliasPrefix = "cygnet link of "

	// linkMTU is above the MTU of any tunnel. The kernel tells the sender of a packet that is too
	// long for the underlay, as it does for the tunnel itself.
	linkMTU = 65000

	// DefaultMax is how many links a tunnel has at most unless Config says otherwise. The kernel
	// takes longer for each device the more there are (Linux 6.1: 1,000 in 1 to 2 s, 3,000 in 6 s,
	// 5,000 in 17 s).
	DefaultMax = 1000

	// turn is how many links are made or removed in one go. After each turn comes a pause, in which
	// other programs can change links.
	turn      = 64
	turnPause = 50 * time.Millisecond

	defaultLinger = 10 * time.Second
)

// ErrTooMany means that a tunnel has as many links as the configuration allows.
var ErrTooMany = errors.New("the tunnel has as many peers at IPv6 addresses as it may have")

// Config says what links a tunnel has.
type Config struct {
	Tunnel string
	Local  netip.Addr // IPv6 address to send from
	Device int        // index of the underlay's VRF, which the links are bound to; 0: none
	Key    *uint32    // nil: without a key
	TTL    uint8
	Max    int // the most links; 0: DefaultMax

	// Linger is how long a link stays after its peer has gone; 0: 10 s. A peer that comes back
	// soon, as after a rekeying that failed, finds its link.
	Linger time.Duration

	// Made, if not nil, is called on Run's goroutine when the link of a peer at an address is
	// there: it was made, also in the place of one that somebody removed, or an earlier run left
	// it. index is that of the link.
	Made func(remote netip.Addr, index int)

	// Programs are those of the tunnel's data path.
	Programs datapath.Links
}

// Stats says how many links there are, and how many peers have none.
type Stats struct {
	Links   int
	Refused int    // peers that have no link because of Config.Max
	Fault   string // why a link is not as wanted; empty: all are
}

// Links keeps the links of one tunnel.
type Links struct {
	cfg  Config
	log  *slog.Logger
	wake chan struct{}

	mu      sync.Mutex                // guards the fields below
	wanted  map[netip.Addr]netip.Addr // the real address of each linked peer, by its name
	untold  map[netip.Addr]bool       // wanted links for which Made was not called
	leaving map[netip.Addr]time.Time  // when the link of a peer that has gone is to be removed
	refused map[netip.Addr]netip.Addr // peers beyond Config.Max
	fault   string
	stats   int

	// Only Run uses these.
	have    map[netip.Addr]device // the links that are there, by their peer's name
	settled bool
}

// device is a link that is there.
type device struct {
	index  int
	remote netip.Addr
}

// New returns the links of a tunnel. It does nothing before Run.
func New(cfg Config, log *slog.Logger) *Links {
	if cfg.Max <= 0 {
		cfg.Max = DefaultMax
	}
	if cfg.Linger <= 0 {
		cfg.Linger = defaultLinger
	}
	return &Links{
		cfg:     cfg,
		log:     log,
		wake:    make(chan struct{}, 1),
		wanted:  make(map[netip.Addr]netip.Addr),
		leaving: make(map[netip.Addr]time.Time),
		untold:  make(map[netip.Addr]bool),
		refused: make(map[netip.Addr]netip.Addr),
		have:    make(map[netip.Addr]device),
	}
}

// Want has the peer at remote have a link. name is its LinkedNBMA address. Want returns ErrTooMany
// if the tunnel has Config.Max links; the peer gets one once another peer's is free.
func (ls *Links) Want(name, remote netip.Addr) error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.leaving, name)
	ls.untold[name] = true
	if ls.wanted[name] == remote {
		ls.hurry()
		return nil
	}
	if _, there := ls.wanted[name]; !there && len(ls.wanted) >= ls.cfg.Max {
		if !ls.makeRoom() {
			ls.refused[name] = remote
			return fmt.Errorf("%w: %d", ErrTooMany, ls.cfg.Max)
		}
	}
	ls.wanted[name] = remote
	ls.hurry()
	return nil
}

// makeRoom gives up the link of a peer that has gone, if there is one. mu is held.
func (ls *Links) makeRoom() bool {
	for name := range ls.leaving {
		ls.forget(name)
		return true
	}
	return false
}

// Unwant has the peer of that name have no link any more. The link stays for a moment.
func (ls *Links) Unwant(name netip.Addr) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.refused, name)
	if _, there := ls.wanted[name]; !there {
		return
	}
	if _, leaves := ls.leaving[name]; !leaves {
		ls.leaving[name] = time.Now().Add(ls.cfg.Linger)
		ls.hurry()
	}
}

// Settle removes the links that an earlier run left and that nobody wants.
func (ls *Links) Settle() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.settled = true
	ls.hurry()
}

// Stats returns the counts of now.
func (ls *Links) Stats() Stats {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return Stats{Links: ls.stats, Refused: len(ls.refused), Fault: ls.fault}
}

// hurry has Run work soon. mu may be held.
func (ls *Links) hurry() {
	select {
	case ls.wake <- struct{}{}:
	default:
	}
}

// forget drops a peer, and lets a refused one have its place. mu is held.
func (ls *Links) forget(name netip.Addr) {
	delete(ls.wanted, name)
	delete(ls.leaving, name)
	delete(ls.untold, name)
	for other, remote := range ls.refused {
		if len(ls.wanted) < ls.cfg.Max {
			ls.wanted[other] = remote
			delete(ls.refused, other)
		}
	}
}

// Run makes and removes links until ctx ends, and then leaves those that are there. It begins with
// the links of an earlier run.
func (ls *Links) Run(ctx context.Context) error {
	notices, err := tc.Listen(ctx, ls.log)
	if err != nil {
		return err
	}
	backoff := schedule.Backoff()
	next := schedule.NewAlarm()
	next.Set(0, schedule.CauseStart)
	audit := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ls.wake:
			next.Set(0, schedule.CauseAsked)
		case n := <-notices:
			if ls.concerns(n) {
				audit = true
				next.Set(schedule.SettlingDelay, schedule.CauseLink)
			}
		case <-next.Timer.C:
			audit = next.Fired() == schedule.CauseAudit || audit
			more, err := ls.work(audit)
			ls.note(err)
			audit = err != nil
			switch {
			case err != nil:
				next.Set(backoff.NextBackOff(), schedule.CauseRetry)
			case more > 0:
				backoff.Reset()
				next.Set(more, schedule.CauseAsked)
			default:
				backoff.Reset()
				next.Set(schedule.AuditInterval, schedule.CauseAudit)
			}
		}
	}
}

// concerns reports whether a notification may mean that a link of ours is not as it should be.
func (ls *Links) concerns(n rtnl.Notice) bool {
	if n.Lost {
		return true
	}
	for _, m := range n.Messages {
		if m.Header.Type != unix.RTM_DELLINK {
			continue
		}
		l, ok := rtnl.ParseLink(m)
		if name, is := peerOf(l, ok); is && ls.have[name].index == l.Index {
			return true
		}
	}
	return false
}

// peerOf returns the name of the peer that a link is for, by the link's name.
func peerOf(l *rtnl.Link, ok bool) (netip.Addr, bool) {
	if !ok {
		return netip.Addr{}, false
	}
	return datapath.PeerOfLink(l.Name)
}

// note notes and logs what is not as wanted.
func (ls *Links) note(err error) {
	text := ""
	if err != nil {
		text = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	ls.mu.Lock()
	before := ls.fault
	ls.fault, ls.stats = text, len(ls.have)
	ls.mu.Unlock()
	if text != "" && text != before {
		ls.log.Warn("a peer at an IPv6 address cannot be reached, trying again", "error", text)
	}
}

// failures collects errors of many links: the first, and how many there are.
type failures struct {
	first error
	count int
}

// add adds an error, unless it is nil.
func (f *failures) add(err error) {
	if err == nil {
		return
	}
	if f.first == nil {
		f.first = err
	}
	f.count++
}

// err returns the first error and says how many more there are; nil if there is none.
func (f *failures) err() error {
	if f.count < 2 {
		return f.first
	}
	return fmt.Errorf("%w (and %d more)", f.first, f.count-1)
}

// work makes and removes the links of one turn. It returns after how long there is more to do, and
// 0 if there is nothing more. audit has it read first which links there are.
func (ls *Links) work(audit bool) (more time.Duration, err error) {
	r, err := rtnl.Open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	if audit {
		if err := ls.read(r); err != nil {
			return 0, err
		}
	}
	var failed failures
	ls.tell()
	missing, surplus, wait := ls.differences(time.Now())
	for i, name := range append(missing, surplus...) {
		if i == turn {
			return turnPause, failed.err()
		}
		if i < len(missing) {
			failed.add(ls.make(r, name))
			ls.tell()
		} else {
			failed.add(ls.remove(r, name))
		}
	}
	return wait, failed.err()
}

// tell calls Made for the wanted links that are there and for which it was not called.
func (ls *Links) tell() {
	if ls.cfg.Made == nil {
		return
	}
	made := make(map[netip.Addr]int)
	ls.mu.Lock()
	for name := range ls.untold {
		if remote := ls.wanted[name]; remote.IsValid() && ls.have[name].remote == remote {
			made[remote] = ls.have[name].index
			delete(ls.untold, name)
		}
	}
	ls.mu.Unlock()
	for remote, index := range made {
		ls.cfg.Made(remote, index)
	}
}

// differences returns the peers whose links are to be made and to be removed, in order, and after
// how long the next one is to be removed.
func (ls *Links) differences(now time.Time) (missing, surplus []netip.Addr, wait time.Duration) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for name, at := range ls.leaving {
		switch left := at.Sub(now); {
		case left <= 0:
			ls.forget(name)
		case wait == 0 || left < wait:
			wait = left
		}
	}
	for name, remote := range ls.wanted {
		if ls.have[name].remote != remote {
			missing = append(missing, name)
		}
	}
	for name := range ls.have {
		if _, wanted := ls.wanted[name]; !wanted && ls.settled {
			surplus = append(surplus, name)
		}
	}
	slices.SortFunc(missing, netip.Addr.Compare)
	slices.SortFunc(surplus, netip.Addr.Compare)
	return missing, surplus, wait
}

// read finds the links that are there. Those that are right get this run's program; the others are
// removed.
func (ls *Links) read(r *rtnl.Conn) error {
	all, err := r.GRELinks()
	if err != nil {
		return err
	}
	before := ls.have
	ls.have = make(map[netip.Addr]device)
	var filters []tc.Filter
	var failed failures
	for _, l := range all {
		name, is := peerOf(l, true)
		if !is || l.Kind != rtnl.KindGRE6 || !ls.ours(l) {
			continue
		}
		if p, ok := l.PeerGRE(); !ok || p != ls.params(l.Remote) || !l.Up {
			failed.add(ls.cfg.Programs.Disconnect(name, l.Index)) // the data path has adopted it
			failed.add(removeLink(r, l))
			continue
		}
		ls.have[name] = device{l.Index, l.Remote}
		filters = append(filters, ls.cfg.Programs.Filter(l.Name, l.Index))
		failed.add(ls.cfg.Programs.Connect(name, l.Remote, l.Index))
	}
	for name, d := range before {
		if ls.have[name] != d {
			failed.add(ls.cfg.Programs.Disconnect(name, d.index))
		}
	}
	_, err = tc.Ensure(filters)
	failed.add(err)
	return failed.err()
}

// ours reports whether a link is this tunnel's. A link that an earlier run had not finished has no
// alias yet, and is anybody's.
func (ls *Links) ours(l *rtnl.Link) bool {
	return l.Alias == aliasPrefix+ls.cfg.Tunnel || l.Alias == ""
}

// params returns the wanted parameters of the link to a peer.
func (ls *Links) params(remote netip.Addr) rtnl.PeerGREParams {
	p := rtnl.PeerGREParams{
		Local: ls.cfg.Local, Remote: remote, TTL: ls.cfg.TTL, Device: ls.cfg.Device,
	}
	if ls.cfg.Key != nil {
		p.Key, p.Keyed = *ls.cfg.Key, true
	}
	return p
}

// make makes the link of a peer. The program is there before the link is up, so that the host never
// takes what arrives by the link.
func (ls *Links) make(r *rtnl.Conn, name netip.Addr) error {
	if old, there := ls.have[name]; there {
		if err := ls.removeDevice(r, name, old); err != nil {
			return err
		}
	}
	ls.mu.Lock()
	remote, wanted := ls.wanted[name]
	ls.mu.Unlock()
	if !wanted {
		return nil
	}
	link := datapath.LinkName(name, ls.cfg.Programs.Tunnel())
	err := r.CreatePeerGRE(link, linkMTU, ls.params(remote))
	if err != nil {
		return rtnl.ExplainPeerGRE(err, "make %s for the peer at %s", link, remote)
	}
	made, err := r.LinkByName(link)
	if err != nil || made == nil {
		return errors.Join(err, fmt.Errorf("the new device %s is gone already", link))
	}
	// With IPv6 the kernel would send packets of its own through the link.
	_, noIPv6 := sysctl.Set("net/ipv6/conf/"+link+"/disable_ipv6", "1")
	err = errors.Join(noIPv6,
		tc.AttachNew(r, ls.cfg.Programs.Filter(link, made.Index)),
		ls.cfg.Programs.Connect(name, remote, made.Index))
	if err == nil {
		err = r.SetAliasUp(made.Index, aliasPrefix+ls.cfg.Tunnel)
	}
	if err != nil {
		return errors.Join(rtnl.Explain(err, "set up %s for the peer at %s", link, remote),
			ls.removeDevice(r, name, device{made.Index, remote}))
	}
	ls.have[name] = device{made.Index, remote}
	ls.mu.Lock()
	ls.untold[name] = true
	ls.mu.Unlock()
	return nil
}

// remove removes the link of a peer.
func (ls *Links) remove(r *rtnl.Conn, name netip.Addr) error {
	return ls.removeDevice(r, name, ls.have[name])
}

// removeDevice removes a device that is the link of a peer.
func (ls *Links) removeDevice(r *rtnl.Conn, name netip.Addr, d device) error {
	err := ls.cfg.Programs.Disconnect(name, d.index)
	if gone := r.DeleteLink(d.index); gone != nil && !errors.Is(gone, unix.ENODEV) {
		return errors.Join(err, rtnl.Explain(gone, "remove the device of the peer at %s", d.remote))
	}
	delete(ls.have, name)
	return err
}

// removeLink removes a device of an earlier run.
func removeLink(r *rtnl.Conn, l *rtnl.Link) error {
	if err := r.DeleteLink(l.Index); err != nil && !errors.Is(err, unix.ENODEV) {
		return rtnl.Explain(err, "remove %s, which has other parameters", l.Name)
	}
	return nil
}

// Left is a link of an earlier run.
type Left struct {
	Tunnel string
	Name   netip.Addr // of the peer
	Local  netip.Addr // that the link sends from
	Remote netip.Addr // the peer's real address
	Index  int        // of the link
}

// Find returns the links of all tunnels.
func Find() ([]Left, error) {
	var found []Left
	err := each(func(_ *rtnl.Conn, l *rtnl.Link) error {
		name, _ := peerOf(l, true)
		tunnel := strings.TrimPrefix(l.Alias, aliasPrefix)
		found = append(found, Left{tunnel, name, l.GRE.Local, l.Remote, l.Index})
		return nil
	})
	return found, err
}

// LocalOf returns the address that the links of a tunnel send from. It returns the zero address if
// there is none, or if the kernel cannot be asked.
func LocalOf(tunnel string) (local netip.Addr) {
	_ = each(func(_ *rtnl.Conn, l *rtnl.Link) error {
		if l.Alias == aliasPrefix+tunnel {
			local = l.GRE.Local
		}
		return nil
	})
	return local
}

// Remove removes all links of a tunnel.
func Remove(tunnel string) error {
	return each(func(r *rtnl.Conn, l *rtnl.Link) error {
		if l.Alias != aliasPrefix+tunnel {
			return nil
		}
		return removeLink(r, l)
	})
}

// each calls f for each link of any tunnel.
func each(f func(*rtnl.Conn, *rtnl.Link) error) error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	all, err := r.GRELinks()
	if err != nil {
		return err
	}
	var failed failures
	for _, l := range all {
		if _, is := peerOf(l, true); is && l.Kind == rtnl.KindGRE6 &&
			strings.HasPrefix(l.Alias, aliasPrefix) {
			failed.add(f(r, l))
		}
	}
	return failed.err()
}

// Wanted returns the names of the peers that are to have a link, in order.
func (ls *Links) Wanted() []netip.Addr {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return slices.SortedFunc(maps.Keys(ls.wanted), netip.Addr.Compare)
}
