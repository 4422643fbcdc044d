package api

import (
	"context"
	"net/netip"
	"time"
)

// Event is one transition: what happened to a peer, a registration, a shortcut, a route or the
// daemon itself, and why. The log has the same events in the same words.
//
// An event of the kind EventGap has no number. It stands in the place of events that the journal
// does not have any more.
type Event struct {
	Number    uint64     `json:"number,omitempty"` // grows by one with each event
	Time      time.Time  `json:"time"`
	Event     EventKind  `json:"event"`
	Level     EventLevel `json:"level"`
	Text      string     `json:"text"`                // what happened
	Interface string     `json:"interface,omitempty"` // absent: the event concerns the whole daemon
	// the overlay address that the event is about
	Protocol netip.Addr `json:"protocol,omitzero"`
	// the prefix that the event is about
	Prefix netip.Prefix `json:"prefix,omitzero"`
	// the overlay address of the router that the event is about, or that the prefix leads to
	NextHop  netip.Addr `json:"next_hop,omitzero"`
	NBMA     netip.Addr `json:"nbma,omitzero"`      // the underlay address of that router
	Identity string     `json:"identity,omitempty"` // of that router, as IKE proved it
	Reason   string     `json:"reason,omitempty"`   // why it happened, and what that means
	// of a shortcut: seconds from the indication until the answer, the SA and the route were there
	Resolved float64 `json:"resolved,omitempty"`
	Secured  float64 `json:"secured,omitempty"`
	Took     float64 `json:"took,omitempty"`
	// of a gap: how many events are missing; absent: unknown
	Missing uint64 `json:"missing,omitempty"`
}

// EventKind names a kind of event, for scripts. cygnet(1) lists all kinds.
type EventKind string

// The kinds of events.
const (
	EventStarted EventKind = "started"
	EventGap     EventKind = "gap"

	EventRegistered EventKind = "registered"
	EventRefused    EventKind = "refused"
	EventUnanswered EventKind = "unanswered"
	EventUnusable   EventKind = "nhs-unusable"
	EventReserve    EventKind = "nhs-reserve"
	EventHubLost    EventKind = "hub-lost"
	EventHubBack    EventKind = "hub-back"
	EventAnnounced  EventKind = "prefix-accepted"
	EventNAT        EventKind = "nat"

	EventClientRegistered EventKind = "client-registered"
	EventClientMoved      EventKind = "client-moved"
	EventClientEnded      EventKind = "client-ended"
	EventRejected         EventKind = "request-refused"
	EventPrefixBound      EventKind = "prefix-announced"
	EventPrefixReserve    EventKind = "prefix-reserve"
	EventPrefixTakeover   EventKind = "prefix-takeover"
	EventPrefixEnded      EventKind = "prefix-ended"

	EventPeerSecured    EventKind = "peer-secured"
	EventPeerLost       EventKind = "peer-lost"
	EventPeerEnded      EventKind = "peer-ended"
	EventPeerClosed     EventKind = "peer-closed"
	EventPeerFailed     EventKind = "peer-failed"
	EventPeerProhibited EventKind = "peer-prohibited"
	EventPeerError      EventKind = "peer-error"
	EventSARefused      EventKind = "sa-refused"
	EventBlocked        EventKind = "identity-blocked"
	EventUnblocked      EventKind = "identity-unblocked"
	EventLeftOut        EventKind = "events-left-out"

	EventAuthorizerSilent EventKind = "authorizer-silent"
	EventAuthorizerBack   EventKind = "authorizer-back"

	EventResolving      EventKind = "resolving"
	EventUnresolved     EventKind = "unresolved"
	EventShortcutUp     EventKind = "shortcut-up"
	EventShortcutDown   EventKind = "shortcut-down"
	EventShortcutCutOff EventKind = "shortcut-cut-off"
	EventShortcutDenied EventKind = "shortcut-denied"
	EventRelayed        EventKind = "relayed"
	EventUnsent         EventKind = "packet-not-sent"

	EventKernelRefused  EventKind = "kernel-refused"
	EventStrongSwan     EventKind = "strongswan-connected"
	EventStrongSwanLost EventKind = "strongswan-lost"
	EventUplink         EventKind = "uplink-changed"
	EventReloaded       EventKind = "reloaded"
	EventReloadFailed   EventKind = "reload-failed"
	EventDraining       EventKind = "draining"
	EventLeaving        EventKind = "leaving"
	EventLogLevel       EventKind = "log-level"
)

// EventKinds returns all kinds of events but EventGap, which is none.
func EventKinds() []EventKind {
	return []EventKind{
		EventStarted,
		EventRegistered,
		EventRefused,
		EventUnanswered,
		EventUnusable,
		EventReserve,
		EventHubLost,
		EventHubBack,
		EventAnnounced,
		EventNAT,
		EventClientRegistered,
		EventClientMoved,
		EventClientEnded,
		EventRejected,
		EventPrefixBound,
		EventPrefixReserve,
		EventPrefixTakeover,
		EventPrefixEnded,
		EventPeerSecured,
		EventPeerLost,
		EventPeerEnded,
		EventPeerClosed,
		EventPeerFailed,
		EventPeerProhibited,
		EventPeerError,
		EventSARefused,
		EventBlocked,
		EventUnblocked,
		EventLeftOut,
		EventAuthorizerSilent,
		EventAuthorizerBack,
		EventResolving,
		EventUnresolved,
		EventShortcutUp,
		EventShortcutDown,
		EventShortcutCutOff,
		EventShortcutDenied,
		EventRelayed,
		EventUnsent,
		EventKernelRefused,
		EventStrongSwan,
		EventStrongSwanLost,
		EventUplink,
		EventReloaded,
		EventReloadFailed,
		EventDraining,
		EventLeaving,
		EventLogLevel,
	}
}

// EventLevel is the level at which the log has an event.
type EventLevel string

// The levels of events.
const (
	EventDebug   EventLevel = "debug"
	EventInfo    EventLevel = "info"
	EventWarning EventLevel = "warning"
	EventError   EventLevel = "error"
)

// EventQuery says which events a reader wants.
type EventQuery struct {
	// After is the number of the last event that the reader has. 0: the reader has none.
	After uint64
	// Journal identifies the journal that After is a number of; see EventJournal. Empty: the one
	// that there is now.
	Journal string
	// Since leaves out what happened before that time. It is used if After is 0.
	Since time.Time
	// Follow has the reader wait for further events.
	Follow bool
	// New leaves out everything that has happened until now.
	New bool
	// Peer leaves out what does not concern a peer: an underlay or overlay address, a prefix that
	// contains one, or a part of an identity. Empty: everything is wanted.
	Peer string
}

// EventJournal is what a reader is told of the journal before the first event.
type EventJournal struct {
	// ID identifies the journal. Each start of the daemon begins a new one, with new numbers.
	ID string
	// Last is the number of the last event.
	Last uint64
}

// EventWriter gets the events of a reader. An error of its methods ends the reading.
type EventWriter interface {
	// Begin is called once, before Write.
	Begin(EventJournal) error
	// Write gets events, in order. It must not keep the list.
	Write([]Event) error
}

// EventSource is what the server needs of the daemon's journal.
type EventSource interface {
	// Events has w get the events that q asks for, and returns once there are no more. If q
	// follows, it returns only when the context ends or w returns an error. If there are too many
	// readers, the error wraps ErrBusy, and w has got nothing.
	Events(ctx context.Context, q EventQuery, w EventWriter) error
}

// EventStatus is the state of the journal of events.
type EventStatus struct {
	Journal string `json:"journal"` // identifies the journal; new with each start of the daemon
	Last    uint64 `json:"last"`    // the number of the last event
	Kept    int    `json:"kept"`    // events that the journal has
	Readers int    `json:"readers"` // that follow the journal now
	// readers that were dropped or not taken since the start, by reason
	Dropped map[string]uint64 `json:"dropped"`
}
