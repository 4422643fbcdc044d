// Package notice writes the engine's notices into the log, in words. A record with the attribute
// "event" (logging.EventKey) is an event of the API, too.
package notice

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/logging"
)

// sentence is the text of an event, with its kind and level.
type sentence struct {
	kind  api.EventKind
	level slog.Level
	text  string
}

// sentences has the text for each kind of notice.
var sentences = map[engine.NoticeKind]sentence{
	engine.NoticeRegistered: {api.EventRegistered, slog.LevelInfo, "registered with the NHS"},
	engine.NoticeRefused: {
		api.EventRefused, slog.LevelWarn,
		"the NHS refused our registration",
	},
	engine.NoticeUnanswered: {api.EventUnanswered, slog.LevelWarn, "the NHS does not answer"},
	engine.NoticeBound:      {api.EventClientRegistered, slog.LevelInfo, "client registered"},
	engine.NoticeMoved: {
		api.EventClientMoved, slog.LevelInfo,
		"client moved to another NBMA address",
	},
	engine.NoticeRejected: {api.EventRejected, slog.LevelWarn, "request refused"},
	engine.NoticeUnbound:  {api.EventClientEnded, slog.LevelInfo, "binding ended"},
	engine.NoticeAnnounced: {
		api.EventAnnounced, slog.LevelInfo,
		"the NHS accepted our prefix",
	},
	engine.NoticePrefixBound: {
		api.EventPrefixBound, slog.LevelInfo,
		"client announces a prefix",
	},
	engine.NoticePrefixReserve: {
		api.EventPrefixReserve, slog.LevelInfo,
		"client announces a prefix in reserve: another client has it",
	},
	engine.NoticePrefixTakeover: {
		api.EventPrefixTakeover, slog.LevelInfo,
		"client's prefix leads to it now: it was in reserve",
	},
	engine.NoticePrefixUnbound: {api.EventPrefixEnded, slog.LevelInfo, "client's prefix ended"},
	engine.NoticePeerSecured:   {api.EventPeerSecured, slog.LevelInfo, "peer secured"},
	engine.NoticePeerLost:      {api.EventPeerLost, slog.LevelWarn, "peer lost its SA"},
	engine.NoticePeerEnded:     {api.EventPeerEnded, slog.LevelInfo, "the SA with a peer ended"},
	engine.NoticePeerFailed:    {api.EventPeerFailed, slog.LevelWarn, "peer could not be secured"},
	engine.NoticePeerClosed: {
		api.EventPeerClosed, slog.LevelInfo,
		"closing the SA with a peer",
	},
	engine.NoticeResolving:      {api.EventResolving, slog.LevelInfo, "resolving a shorter way"},
	engine.NoticeShortcutUp:     {api.EventShortcutUp, slog.LevelInfo, "shortcut up"},
	engine.NoticeShortcutDown:   {api.EventShortcutDown, slog.LevelInfo, "shortcut ended"},
	engine.NoticeShortcutDenied: {api.EventShortcutDenied, slog.LevelWarn, "answer not installed"},
	engine.NoticeUnresolved: {
		api.EventUnresolved, slog.LevelWarn, "no shorter way found; traffic stays on its route",
	},
	engine.NoticeShortcutCutOff: {
		api.EventShortcutCutOff, slog.LevelInfo,
		"shortcut without an SA; traffic takes the hub until there is a new one",
	},
	engine.NoticeRelayed: {
		api.EventRelayed, slog.LevelInfo,
		"traffic to a router goes through the NHS",
	},
	engine.NoticeNAT:        {api.EventNAT, slog.LevelInfo, "this node is behind NAT"},
	engine.NoticeProhibited: {api.EventPeerProhibited, slog.LevelWarn, "peer may do nothing here"},
	engine.NoticeBlocked:    {api.EventBlocked, slog.LevelWarn, "identity blocked"},
	engine.NoticeUnblocked:  {api.EventUnblocked, slog.LevelInfo, "identity no longer blocked"},
	engine.NoticeHubLost:    {api.EventHubLost, slog.LevelWarn, "the NHS is lost"},
	engine.NoticeUnusable: {
		api.EventUnusable, slog.LevelWarn,
		"the NHS registered us and cannot be used",
	},
	engine.NoticeReserve: {api.EventReserve, slog.LevelInfo, "the NHS is in reserve"},
	engine.NoticeUnsent:  {api.EventUnsent, slog.LevelWarn, "an NHRP packet was not sent"},
	engine.NoticeError:   {api.EventPeerError, slog.LevelWarn, "peer reports an error"},
	engine.NoticeUnruled: {
		api.EventAuthorizerSilent, slog.LevelWarn,
		"the authorizer does not answer; authorize_default decides about new routers",
	},
	engine.NoticeRuling: {api.EventAuthorizerBack, slog.LevelInfo, "the authorizer answers again"},
	engine.NoticeLeftOut: {
		api.EventLeftOut, slog.LevelWarn,
		"too many events about one peer: some are not in the log",
	},
}

// hubBack replaces the sentence of a NoticeRegistered that follows a NoticeHubLost.
var hubBack = sentence{
	api.EventHubBack, slog.LevelInfo, "the NHS is back: registered with it again",
}

// Log logs one notice of the engine, which also makes it an event. A notice that is to stay out of
// the log (Quiet) is logged at the level debug, and is no event. The record carries the time of the
// turn: reading the clock for each line is a system call on kernels that have no faster way. Log
// may be called from any goroutine.
func Log(log *slog.Logger, now time.Time, n *engine.Notice) {
	s := sentences[n.Kind]
	if n.Kind == engine.NoticeRegistered && n.Again {
		s = hubBack
	}
	if n.Quiet {
		s.level = slog.LevelDebug
	}
	if !log.Enabled(context.Background(), s.level) {
		return
	}
	attrs := make([]slog.Attr, 0, 10)
	if !n.Quiet {
		attrs = append(attrs, slog.String(logging.EventKey, string(s.kind)))
	}
	attrs = appendText(attrs, "interface", n.Interface)
	attrs = appendPrefix(attrs, n.Prefix)
	attrs = appendAddr(attrs, "next_hop", n.NextHop)
	attrs = appendAddr(attrs, "nbma", n.NBMA)
	attrs = appendText(attrs, "identity", n.Identity)
	attrs = appendText(attrs, "reason", n.Reason)
	attrs = appendDuration(attrs, "resolved", n.Resolved)
	attrs = appendDuration(attrs, "secured", n.Secured)
	attrs = appendDuration(attrs, "took", n.Took)
	record := slog.NewRecord(now, s.level, s.text, 0)
	record.AddAttrs(attrs...)
	// As with any log line, nobody could be told of an error.
	_ = log.Handler().Handle(context.Background(), record)
}

// appendPrefix appends a prefix, and a host prefix as the address that it is. It appends nothing
// if the prefix is not set.
func appendPrefix(attrs []slog.Attr, p netip.Prefix) []slog.Attr {
	switch {
	case !p.IsValid():
		return attrs
	case p.IsSingleIP():
		return append(attrs, slog.Any("protocol", p.Addr()))
	}
	return append(attrs, slog.Any("prefix", p))
}

// appendAddr appends an address if it is set.
func appendAddr(attrs []slog.Attr, key string, a netip.Addr) []slog.Attr {
	if !a.IsValid() {
		return attrs
	}
	return append(attrs, slog.Any(key, a))
}

// appendText appends a text if it is not empty.
func appendText(attrs []slog.Attr, key, value string) []slog.Attr {
	if value == "" {
		return attrs
	}
	return append(attrs, slog.String(key, value))
}

// appendDuration appends a duration if it is not zero, rounded to a tenth of a millisecond.
func appendDuration(attrs []slog.Attr, key string, d time.Duration) []slog.Attr {
	if d == 0 {
		return attrs
	}
	return append(attrs, slog.Duration(key, d.Round(100*time.Microsecond)))
}
