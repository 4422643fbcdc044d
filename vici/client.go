package vici

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cygnet/vici/ike"
	"cygnet/vici/profile"
	"cygnet/vici/rival"
	"cygnet/vici/salist"
	"cygnet/vici/session"
)

// DefaultSocket is where charon's VICI plugin listens by default.
const DefaultSocket = "/var/run/charon.vici"

// DefaultMaxInitiations is how many attempts may be in their first seconds at the same time, unless
// Options says otherwise.
const DefaultMaxInitiations = 32

// Options are the settings of a Client.
type Options struct {
	Socket         string       // charon's VICI socket; empty: DefaultSocket
	Log            *slog.Logger // nil: slog.Default
	MaxInitiations int          // 0: DefaultMaxInitiations

	// Sweep deletes the kernel's ESP states that have marks, carry GRE of one of the local
	// addresses, and are an earlier charon's. The client calls it when it meets a charon that may
	// be new, before it reports anything about that charon. Sweep reads the kernel before it calls
	// list, which returns the SPIs of all of charon's CHILD_SAs. If it fails, the client gives up
	// the link to charon and makes it again. nil: nothing is ever left behind.
	Sweep func(locals []netip.Addr, list func() (map[uint32]bool, error)) error

	// InKernel returns the addresses to which the kernel has SAs from one of the local addresses,
	// SAs with marks left out. A charon that was killed leaves its SAs to the kernel, and one that
	// was stopped does not; a snapshot tells which of the two it was. nil: it is never known.
	InKernel func(locals []netip.Addr) (map[netip.Addr]bool, error)

	// Compared is called with how long each comparison of all SAs with charon's took, on the
	// client's goroutine. nil: nobody wants to know.
	Compared func(time.Duration)
	// Secured is called, likewise, with the time from dialling a peer until its SA was up.
	Secured func(time.Duration)
}

// Want is what is wanted of charon for one peer.
type Want uint8

const (
	// None wants nothing: the peer's connection is unloaded. An SA that is there stays until Close.
	None Want = iota

	// Accept lets the peer dial. This end dials only after a stall of charon, if the peer may have
	// lost its SA.
	Accept

	// Initiate has this end dial the peer, and again whenever the last SA with it is lost.
	Initiate

	// InitiateFirst is Initiate for a peer that others depend on. It is dialled before all that are
	// not first. An attempt without an answer is begun anew every two seconds for the first half
	// minute, and later after a fifteenth of the time that has passed, ten seconds at most. So the
	// peer is secured soon after it comes back, however long it was away.
	InitiateFirst
)

// dials reports whether this end is to secure the peer.
func (w Want) dials() bool { return w >= Initiate }

// Client keeps charon as it is wanted. Any goroutine may call its methods, before, while and after
// Run runs. None of them waits for charon, except SPIs. Calls take effect in their order.
type Client struct {
	settings
	dialer    session.Dialer
	events    chan Event
	ledger    *ike.Ledger
	published published
	ran       atomic.Bool

	mailbox struct {
		sync.Mutex
		posts []func(*reconciler)
	}
	wake chan struct{}
	r    *reconciler // owned by Run's goroutine
}

// settings are those of a client that its reconciler uses, too.
type settings struct {
	log      *slog.Logger
	inFlight int // attempts that may be in their first seconds
	sweep    func(locals []netip.Addr, list func() (map[uint32]bool, error)) error
	inKernel func(locals []netip.Addr) (map[netip.Addr]bool, error)
	compared func(time.Duration)
	secured  func(time.Duration)
	times    times
}

// times are the waits of the reconciler.
type times struct {
	command time.Duration // for charon to answer a command
	list    time.Duration // for charon to stream all SAs

	// Attempts to secure a peer.
	firstPoll  time.Duration // from an initiation to the poll that finds whether charon gave it up
	firstCheck time.Duration // from an initiation to the first poll that may end it
	check      time.Duration // between the polls after that
	attempt    time.Duration // for an attempt to establish
	redial     time.Duration // from a peer's loss to dialling it: it may not be wanted any more
	lasting    time.Duration // an SA that lasted this long starts the back-off anew
	returning  time.Duration // after charon's return: no answer by firstCheck begins anew
	impatience time.Duration // longest wait between unanswered attempts (InitiateFirst)

	// SAs that are there.
	childless    time.Duration // for an IKE_SA to get its child
	duplicate    time.Duration // for two SAs with one peer to become one by themselves
	handOver     time.Duration // for the SA that stays to be rekeyed, before others close
	handOverPoll time.Duration // between polls whether it is
	withhold     time.Duration // for a second SA to come up, before the first is reported
	withholdPoll time.Duration // between polls for it, and from its coming up to that report
	outdated     time.Duration // for a new SA, before one with algorithms of before is closed
	dead         time.Duration // from a peer's newest SA until its older ones are taken for dead
	proof        time.Duration // after a stall: for a peer to prove its SA, before it is dialled

	// What charon has loaded and listed.
	connections  time.Duration // between comparisons of what is loaded
	comparison   time.Duration // between comparisons of all SAs
	orphans      time.Duration // from charon's return to unloading what nobody wants
	vacant       time.Duration // without an SA at a shared address, before it is forgotten
	profileRetry time.Duration // before a profile that charon refused is loaded again
	logReview    time.Duration // between checks whether the log subscription is still needed
	inbound      time.Duration // between checks whether others fail to dial this end
}

var defaultTimes = times{
	command:      30 * time.Second,
	list:         2 * time.Minute,
	firstPoll:    500 * time.Millisecond,
	firstCheck:   2 * time.Second,
	check:        5 * time.Second,
	attempt:      30 * time.Second,
	redial:       100 * time.Millisecond,
	lasting:      10 * time.Second,
	returning:    30 * time.Second,
	impatience:   10 * time.Second,
	childless:    5 * time.Second,
	duplicate:    2 * time.Second,
	handOver:     1500 * time.Millisecond,
	handOverPoll: 100 * time.Millisecond,
	withhold:     10 * time.Second,
	withholdPoll: 100 * time.Millisecond,
	outdated:     10 * time.Second,
	dead:         10 * time.Second,
	proof:        500 * time.Millisecond,
	connections:  10 * time.Second,
	comparison:   time.Minute,
	orphans:      30 * time.Second,
	vacant:       5 * time.Minute,
	profileRetry: 10 * time.Second,
	logReview:    time.Minute,
	inbound:      5 * time.Second,
}

// New makes a client. Nothing happens before Run.
func New(o Options) *Client {
	c := &Client{
		settings: settings{
			log:      o.Log,
			inFlight: cmp.Or(o.MaxInitiations, DefaultMaxInitiations),
			sweep:    o.Sweep,
			inKernel: o.InKernel,
			compared: o.Compared,
			secured:  o.Secured,
			times:    defaultTimes,
		},
		dialer: session.Dialer{Socket: cmp.Or(o.Socket, DefaultSocket)},
		events: make(chan Event, 64),
		ledger: ike.NewLedger(time.Now()),
		wake:   make(chan struct{}, 1),
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	c.dialer.Silence = &session.SilenceWatch{Report: func(began time.Time, silence time.Duration) {
		c.post(func(r *reconciler) { r.renewals.stalled(began, silence) })
	}}
	c.r = newReconciler(c)
	return c
}

// Run works until ctx ends, and returns its error. It reconnects for ever. At its end it leaves
// charon as it is: it terminates and unloads nothing. A client runs once.
func (c *Client) Run(ctx context.Context) error {
	if c.ran.Swap(true) {
		return errors.New("a VICI client runs once: make a new one")
	}
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	tasks.Go(func() { c.connect(ctx) })
	return c.r.run(ctx)
}

// SetProfile sets or replaces the profile of an interface. If the profile is new and charon is
// there, a Snapshot of the interface follows. Existing SAs stay, except those from an address that
// is no longer one of LocalAddrs, which protect nothing: they are closed. charon keeps a PSK that
// was replaced until it restarts, and tries the newest first. A PSK that could be unloaded would be
// unloaded by everybody's swanctl --load-creds.
func (c *Client) SetProfile(p profile.Profile) {
	p = p.Clone()
	c.post(func(r *reconciler) { r.setProfile(p) })
}

// Report has a Snapshot of an interface follow, if the interface has a profile and charon is there.
// Otherwise one follows when charon has come.
func (c *Client) Report(iface string) {
	c.post(func(r *reconciler) {
		if r.synced && r.profiles[iface] != nil {
			r.emit(r.snapshot(iface))
		}
	})
}

// RemoveProfile forgets an interface with all that is wanted on it, unloads its connections and
// ends its SAs. That includes SAs which charon was still negotiating at that moment. A connection
// of the site's own stays loaded, so routers may make new SAs with it.
func (c *Client) RemoveProfile(iface string) {
	c.post(func(r *reconciler) { r.removeProfile(iface) })
}

// Want sets what is wanted for a peer; the latest call counts. It has no effect while the interface
// has no profile.
func (c *Client) Want(k Key, w Want) {
	c.post(func(r *reconciler) { r.want(k, w) })
}

// Close terminates all our SAs with a peer and unloads its connection, now or as soon as charon is
// there. What is wanted stays: with Initiate the peer is dialled again.
func (c *Client) Close(k Key) {
	c.post(func(r *reconciler) { r.close(k) })
}

// Expel ends the SAs that a peer has under an identity. It does not wait for the peer's answer, and
// leaves SAs of other identities at that address alone. The peer gets a new SA if it dials again.
func (c *Client) Expel(k Key, identity string) {
	c.post(func(r *reconciler) { r.expulsions.expel(k, identity) })
}

// Counted passes on what the kernel has counted by now, by the SPIs of its ESP states, in and out;
// see [ike.Counters]. The maps are the client's from then on.
func (c *Client) Counted(in, out map[uint32]Count) {
	c.post(func(r *reconciler) {
		r.counters.Renew(ike.Counters{In: in, Out: out}, r.sas)
		for _, sa := range r.sas {
			r.carried(sa)
		}
	})
}

// Traffic returns what SAs carried since the client was made, by interface and by peer. The sums
// never become smaller, whatever becomes of the SAs.
func (c *Client) Traffic() (map[string]Traffic, map[Key]Traffic) { return c.ledger.Read() }

// AllowMarks answers MarksAsked; serial is that event's. The caller says by it that it directs
// packets only to marks of peers that were reported since.
func (c *Client) AllowMarks(serial uint64) {
	c.post(func(r *reconciler) { r.marks.allow(serial) })
}

// Events returns the channel of what happened, in order, for one consumer. It is never closed. A
// consumer that is too slow gets Connected or Disconnected and a Snapshot of each interface in
// place of what it missed.
func (c *Client) Events() <-chan Event { return c.events }

// post has the goroutine that owns the state run f.
func (c *Client) post(f func(*reconciler)) {
	c.mailbox.Lock()
	c.mailbox.posts = append(c.mailbox.posts, f)
	c.mailbox.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// posts returns the functions posted since the last call.
func (c *Client) posts() []func(*reconciler) {
	c.mailbox.Lock()
	defer c.mailbox.Unlock()
	posts := c.mailbox.posts
	c.mailbox.posts = nil
	return posts
}

// Status is the state of the link to charon.
type Status struct {
	Connected bool
	Version   string    // charon's, as of the last connection
	Since     time.Time // of the present state
	// LastError says why charon was last lost or not reached, or why it did not take a profile;
	// empty: nothing is wrong.
	LastError     string
	Refused       map[string]string // by interface, why charon does not take its profile
	Rivals        []Rival           // connections of others that took our peers lately
	EventsDropped uint64            // events that the consumer did not take in time
	Initiating    int               // attempts under way
	SAs           int
	OverLimit     uint64 // SAs that were closed because their identity had too many

	// Started is when charon started, as of the last connection. It is zero if charon did not say.
	Started time.Time
	// Failures counts attempts of this end to secure a peer that failed, and Refusals those of
	// others to secure this end, by cause; see failure.Cause.
	Failures, Refusals map[string]uint64
}

// published is what readers see. Only the reconciler writes it. It never changes an SA in it; it
// replaces the SA.
type published struct {
	sync.RWMutex
	status Status
	sas    map[uint32]*SA
}

// ErrNotConnected is the error of a question while charon is away.
var ErrNotConnected = errors.New("charon is not connected")

// SPIs asks charon for the SPIs of all its CHILD_SAs, in both directions, including those of
// connections that are not ours. ESP states in the kernel with another SPI are not this charon's.
// CHILD_SAs that were rekeyed are in the answer until they are deleted.
func (c *Client) SPIs(ctx context.Context) (map[uint32]bool, error) {
	var spis map[uint32]bool
	answer := make(chan error, 1)
	c.post(func(r *reconciler) {
		if !r.synced {
			answer <- ErrNotConnected
			return
		}
		r.do(func(ctx context.Context, s *session.Session) (err error) {
			spis, err = salist.SPIs(ctx, s, r.times.list)
			return err
		}, func(err error) { answer <- err })
	})
	select {
	case err := <-answer:
		if err != nil {
			return nil, fmt.Errorf("ask for all SPIs: %w", err)
		}
		return spis, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("ask for all SPIs: %w", context.Cause(ctx))
	}
}

// SAs returns a copy of the table of our SAs, by peer, then by age. While charon is away the table
// stays as it was.
func (c *Client) SAs() []SA {
	c.published.RLock()
	sas := make([]SA, 0, len(c.published.sas))
	for _, sa := range c.published.sas {
		s := *sa
		s.Children = slices.Clone(s.Children)
		sas = append(sas, s)
	}
	c.published.RUnlock()
	slices.SortFunc(sas, func(a, b SA) int {
		return cmp.Or(cmp.Compare(a.Interface, b.Interface), a.RemoteHost.Compare(b.RemoteHost),
			cmp.Compare(a.ID, b.ID))
	})
	return sas
}

// Status returns the state of the link to charon.
func (c *Client) Status() Status {
	c.published.RLock()
	defer c.published.RUnlock()
	s := c.published.status
	s.Refused = maps.Clone(s.Refused)
	s.Failures, s.Refusals = maps.Clone(s.Failures), maps.Clone(s.Refusals)
	s.Rivals = rival.Current(s.Rivals, time.Now())
	s.SAs = len(c.published.sas)
	return s
}

// What a client reports of SAs, so that its users need no other package for that.
type (
	// Key names a peer.
	Key = ike.Key
	// SA is an IKE_SA of one of our connections.
	SA = ike.SA
	// Child is a CHILD_SA.
	Child = ike.Child
	// Count is what an ESP state of the kernel counted.
	Count = ike.Count
	// Traffic is what SAs carried.
	Traffic = ike.Traffic
	// Rival is a connection of somebody else's that charon chooses for peers of an interface.
	Rival = rival.Rival
)
