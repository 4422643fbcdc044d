package nhrpd

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine"
)

// sentence is the text of a log event, and its level.
type sentence struct {
	level slog.Level
	text  string
}

// sentences has the text for each kind of notice.
var sentences = map[engine.NoticeKind]sentence{
	engine.NoticeRegistered:     {slog.LevelInfo, "registered with the NHS"},
	engine.NoticeRefused:        {slog.LevelWarn, "the NHS refused our registration"},
	engine.NoticeUnanswered:     {slog.LevelWarn, "the NHS does not answer"},
	engine.NoticeBound:          {slog.LevelInfo, "client registered"},
	engine.NoticeMoved:          {slog.LevelInfo, "client moved to another NBMA address"},
	engine.NoticeRejected:       {slog.LevelWarn, "request refused"},
	engine.NoticeUnbound:        {slog.LevelInfo, "binding ended"},
	engine.NoticeAnnounced:      {slog.LevelInfo, "the NHS accepted our prefix"},
	engine.NoticePrefixBound:    {slog.LevelInfo, "client announces a prefix"},
	engine.NoticePrefixUnbound:  {slog.LevelInfo, "client's prefix ended"},
	engine.NoticePeerSecured:    {slog.LevelInfo, "peer secured"},
	engine.NoticePeerLost:       {slog.LevelWarn, "peer lost its SA"},
	engine.NoticePeerEnded:      {slog.LevelInfo, "the SA with a peer ended"},
	engine.NoticePeerFailed:     {slog.LevelWarn, "peer could not be secured"},
	engine.NoticePeerClosed:     {slog.LevelInfo, "closing the SA with a peer"},
	engine.NoticeResolving:      {slog.LevelInfo, "resolving a shorter way"},
	engine.NoticeShortcutUp:     {slog.LevelInfo, "shortcut up"},
	engine.NoticeShortcutDown:   {slog.LevelInfo, "shortcut ended"},
	engine.NoticeShortcutDenied: {slog.LevelWarn, "answer not installed"},
	engine.NoticeUnresolved: {
		slog.LevelWarn, "no shorter way found; traffic stays on its route",
	},
	engine.NoticeRelayed:    {slog.LevelInfo, "traffic to a router goes through the NHS"},
	engine.NoticeNAT:        {slog.LevelInfo, "this node is behind NAT"},
	engine.NoticeProhibited: {slog.LevelWarn, "peer may do nothing here"},
	engine.NoticeBlocked:    {slog.LevelWarn, "identity blocked"},
	engine.NoticeUnblocked:  {slog.LevelInfo, "identity no longer blocked"},
	engine.NoticeUnusable:   {slog.LevelWarn, "the NHS registered us and cannot be used"},
	engine.NoticeUnsent:     {slog.LevelWarn, "an NHRP packet was not sent"},
	engine.NoticeError:      {slog.LevelWarn, "peer reports an error"},
	engine.NoticeLeftOut:    {slog.LevelWarn, "too many events about one peer: some are not in the log"},
}

// logEvent logs one event of the engine. The record carries the time of the turn: reading the clock
// for each line is a system call on kernels that have no faster way.
func (l *loop) logEvent(now time.Time, n *engine.Notice) {
	s := sentences[n.Kind]
	if n.Quiet || !l.log.Enabled(context.Background(), s.level) {
		return
	}
	attrs := make([]slog.Attr, 0, 9)
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
	_ = l.log.Handler().Handle(context.Background(), record)
}

// appendPrefix appends a prefix, and a host prefix as the address that it is. It appends nothing
// if the prefix is not set.
func appendPrefix(attrs []slog.Attr, p netip.Prefix) []slog.Attr {
	switch {
	case !p.IsValid():
		return attrs
	case p.IsSingleIP():
		return append(attrs, slog.String("protocol", p.Addr().String()))
	}
	return append(attrs, slog.String("prefix", p.String()))
}

// appendAddr appends an address if it is set.
func appendAddr(attrs []slog.Attr, key string, a netip.Addr) []slog.Attr {
	if !a.IsValid() {
		return attrs
	}
	return append(attrs, slog.String(key, a.String()))
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
