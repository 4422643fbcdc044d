package vici

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cygnet/vici/ike"
	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// DefaultSocket is where charon listens unless its plugin is told otherwise.
const DefaultSocket = "/var/run/charon.vici"

// DefaultMaxInitiations is how many initiations are in flight at most unless Options says
// otherwise.
const DefaultMaxInitiations = 32

// Options are the settings of a Client.
type Options struct {
	Socket         string       // charon's VICI socket; empty: DefaultSocket
	Log            *slog.Logger // nil: slog.Default
	MaxInitiations int          // attempts whose first seconds overlap; 0: DefaultMaxInitiations

	// Sweep ends states in the kernel that have marks, carry GRE of one of the local addresses, and
	// are not this charon's: those that an earlier one left. It is called for a charon that may be
	// new before anything is told of it, and must be done with reading the kernel before it calls
	// list, for the SPIs of all of charon's CHILD_SAs. With its error the link to charon is given
	// up and made again. nil: nothing is ever left.
	Sweep func(locals []netip.Addr, list func() (map[uint32]bool, error)) error
}

// Want is what is wanted of charon for one peer.
type Want uint8

const (
	// nothing: its connection is unloaded; an SA that is there stays until Close
	None Want = iota
	// the peer dials: initiate only after a stall of charon, if the peer may have lost its SA
	Accept
	Initiate // secure the peer, and again whenever its last SA is lost

	// InitiateFirst is Initiate for a peer that others depend on: it is dialled before all that are
	// not first, and an attempt that gets no answer is begun anew every two seconds for the first
	// half minute, later after a fifteenth of the time that has passed, at most ten seconds. So it
	// is secured soon after it comes back, however long it was away.
	InitiateFirst
)

// dials tells whether this end is to secure the peer.
func (w Want) dials() bool { return w >= Initiate }

// Client keeps charon as it is wanted. All methods may be called by any goroutine and before, while
// and after Run runs; none waits for charon. What is called takes effect in the order of the calls.
type Client struct {
	log       *slog.Logger
	dialer    session.Dialer
	inFlight  int
	sweep     func(locals []netip.Addr, list func() (map[uint32]bool, error)) error
	times     times
	events    chan Event
	published published
	ran       atomic.Bool

	mailbox struct {
		sync.Mutex
		posts []func(*reconciler)
	}
	wake chan struct{}
	r    *reconciler // owned by Run's goroutine
}

// times are the waits of the reconciler.
type times struct {
	command time.Duration // for charon to answer a command
	list    time.Duration // for charon to stream all SAs
	// from an initiation to the look whether charon has given it up already
	firstPoll time.Duration
	// from an initiation to the first look that may end it, and on for as long as it is young
	firstCheck time.Duration
	check      time.Duration // between further looks
	attempt    time.Duration // for an attempt to establish
	childless  time.Duration // for an IKE_SA to get its child
	duplicate  time.Duration // for two SAs with one peer to be settled by themselves
	// from the loss of a peer to the attempt to have it again: who was told may not want it any
	// more
	redial  time.Duration
	lasting time.Duration // an SA that lasted this long starts the back-off anew
	// after charon's return, for which unanswered attempts are restarted with every check
	returning time.Duration
	// between attempts that a peer which is first does not answer, at most
	impatience time.Duration
	// for the SA that stays to be rekeyed, before its duplicates are closed all the same
	handOver     time.Duration
	handOverPoll time.Duration // between looks whether it is
	withhold     time.Duration // for a second SA to come up, before the first is told all the same
	withholdPoll time.Duration // between looks for it, and from its coming up to the use of either
	// from the newest SA with a peer, after which older ones are taken for dead
	zombie time.Duration
	// after a stall of charon, for a peer to show that it has its SA, before it is dialled
	proof       time.Duration
	connections time.Duration // between comparisons of what is loaded
	comparison  time.Duration // between comparisons of all SAs
	orphans     time.Duration // after charon's return, before what nobody wants is unloaded
	// without an SA at a shared address, before its connection is unloaded
	vacant       time.Duration
	profileRetry time.Duration // before a profile that charon refused is loaded again
	logReview    time.Duration // between checks whether the subscription to the log is still needed
	inbound      time.Duration // between looks whether others fail to dial this end
}

var defaultTimes = times{
	command: 30 * time.Second, list: 2 * time.Minute,
	firstPoll: 500 * time.Millisecond, firstCheck: 2 * time.Second, check: 5 * time.Second,
	attempt:   30 * time.Second,
	childless: 5 * time.Second, duplicate: 2 * time.Second, handOver: 1500 * time.Millisecond,
	handOverPoll: 100 * time.Millisecond, redial: 100 * time.Millisecond,
	lasting:   10 * time.Second,
	returning: 30 * time.Second, impatience: 10 * time.Second, withhold: 10 * time.Second,
	withholdPoll: 100 * time.Millisecond, zombie: 10 * time.Second, proof: 500 * time.Millisecond,
	connections: 10 * time.Second,
	comparison:  time.Minute, orphans: 30 * time.Second, vacant: 5 * time.Minute,
	profileRetry: 10 * time.Second, logReview: time.Minute, inbound: 5 * time.Second,
}

// New makes a client. Nothing happens before Run.
func New(o Options) *Client {
	c := &Client{
		log:      o.Log,
		dialer:   session.Dialer{Socket: cmp.Or(o.Socket, DefaultSocket)},
		inFlight: cmp.Or(o.MaxInitiations, DefaultMaxInitiations),
		sweep:    o.Sweep,
		times:    defaultTimes,
		events:   make(chan Event, 64),
		wake:     make(chan struct{}, 1),
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	c.dialer.Silence = &session.SilenceWatch{Report: func(began time.Time, silence time.Duration) {
		c.post(func(r *reconciler) { r.stalled(began, silence) })
	}}
	c.r = newReconciler(c)
	return c
}

// Run works until ctx ends, and returns its error. It reconnects for ever. At its end it leaves
// charon as it is: nothing is terminated or unloaded. A client runs once.
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

// SetProfile sets or replaces the profile of an interface. A Snapshot of the interface follows when
// it is new and charon is there. Existing SAs stay, but one from an address that is none of
// LocalAddrs any more protects nothing: it is closed and does not count. A PSK that is replaced
// stays known to charon until charon restarts, since one that could be unloaded would be unloaded
// by everybody's swanctl --load-creds; the newest is tried first.
func (c *Client) SetProfile(p profile.Profile) {
	p = p.Clone()
	c.post(func(r *reconciler) { r.setProfile(p) })
}

// RemoveProfile forgets an interface with all that is wanted on it, and unloads its connections.
// Its SAs stay; Close comes before.
func (c *Client) RemoveProfile(iface string) {
	c.post(func(r *reconciler) { r.removeProfile(iface) })
}

// Want says what is wanted for a peer; the latest call holds. It needs a profile of the interface
// to have an effect.
func (c *Client) Want(k Key, w Want) {
	c.post(func(r *reconciler) { r.want(k, w) })
}

// Close terminates all our SAs with a peer and unloads its connection, now or as soon as charon is
// there. What is wanted stays: with Initiate the peer is dialled again.
func (c *Client) Close(k Key) {
	c.post(func(r *reconciler) { r.close(k) })
}

// Expel ends the SAs with a peer whose identity is the one given, at once and without waiting for
// its word, and leaves those of others at its address alone. Who dials again gets a new one.
func (c *Client) Expel(k Key, identity string) {
	c.post(func(r *reconciler) { r.expel(k, identity) })
}

// AllowMarks answers MarksAsked with its serial number: nothing leads to a mark any more that is
// not a told peer's.
func (c *Client) AllowMarks(serial uint64) {
	c.post(func(r *reconciler) { r.allowMarks(serial) })
}

// Events gives what happened, in order, for one consumer. The channel is never closed. A consumer
// that is too slow gets Connected or Disconnected and a Snapshot of each interface in place of what
// it missed.
func (c *Client) Events() <-chan Event { return c.events }

// post hands f to the goroutine that owns the state.
func (c *Client) post(f func(*reconciler)) {
	c.mailbox.Lock()
	c.mailbox.posts = append(c.mailbox.posts, f)
	c.mailbox.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

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
	// why charon was lost or could not be reached last, or a profile be loaded; empty: nothing is
	// wrong
	LastError     string
	Refused       map[string]string // by interface, why charon does not take its profile
	Rivals        []Rival           // connections of others that took peers of an interface lately
	EventsDropped uint64            // events that the consumer did not take in time
	Initiating    int               // attempts under way
	SAs           int
	OverLimit     uint64 // SAs that were closed since their identity had too many
}

// published is what readers see. Its owner writes it; SAs in it are never changed, only replaced.
type published struct {
	sync.RWMutex
	status Status
	sas    map[uint32]*SA
}

// SAs returns a copy of the table of our SAs, by peer, then by age. While charon is away it is as
// it was.
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
	s.Rivals = current(s.Rivals, time.Now())
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
)
