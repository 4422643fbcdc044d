package logging

import (
	"bytes"
	"context"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/journal"
)

// journald is a handler that sends records to systemd's journal in its native form: each attribute
// is a field, so that journalctl finds records by peer, interface or event, and levels are
// priorities. MESSAGE has the text and the attributes, as a line of the text format does.
type journald struct {
	send  func(message string, p journal.Priority, fields map[string]string) error
	text  slog.Handler // takes what the journal does not
	attrs []slog.Attr  // of the logger
	group string       // of later attributes, with a dot at its end
}

// The names of fields that do not follow from an attribute.
const (
	fieldPrefix = "CYGNET_"
	fieldPeer   = fieldPrefix + "PEER" // the identity or, without one, the underlay address
)

// longestField is how many bytes of a value the journal gets. A message with all its fields stays
// below what one datagram takes.
const longestField = 4096

// newJournald returns a handler that sends records to the journal, and writes those that it does
// not take to text.
func newJournald(text slog.Handler) journald {
	return journald{send: journal.Send, text: text}
}

// Enabled reports that every record is taken; see leveled.
func (journald) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs returns a handler whose records have the attributes as well.
func (j journald) WithAttrs(attrs []slog.Attr) slog.Handler {
	j.text = j.text.WithAttrs(attrs)
	j.attrs = append(j.attrs[:len(j.attrs):len(j.attrs)], grouped(j.group, attrs)...)
	return j
}

// WithGroup returns a handler that puts later attributes into a group.
func (j journald) WithGroup(name string) slog.Handler {
	j.text = j.text.WithGroup(name)
	j.group += name + "."
	return j
}

// Handle sends a record.
func (j journald) Handle(ctx context.Context, r slog.Record) error {
	attrs := j.attrs[:len(j.attrs):len(j.attrs)]
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, grouped(j.group, []slog.Attr{a})...)
		return true
	})
	if j.send(message(r.Message, attrs), priority(r.Level), fields(attrs)) == nil {
		return nil
	}
	return j.text.Handle(ctx, r)
}

// grouped returns attributes with the name of their group in their keys.
func grouped(group string, attrs []slog.Attr) []slog.Attr {
	var all []slog.Attr
	for _, a := range attrs {
		v := a.Value.Resolve()
		if v.Kind() == slog.KindGroup {
			inner := group
			if a.Key != "" {
				inner += a.Key + "."
			}
			all = append(all, grouped(inner, v.Group())...)
			continue
		}
		all = append(all, slog.Attr{Key: group + a.Key, Value: v})
	}
	return all
}

// priority returns the journal's priority for a level.
func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}

// fields returns the fields for attributes.
func fields(attrs []slog.Attr) map[string]string {
	all := map[string]string{"SYSLOG_IDENTIFIER": "cygnetd"}
	for _, a := range attrs {
		value := printable(a.Value.String())
		all[fieldPrefix+fieldName(a.Key)] = value
		switch {
		case a.Key == EventKey && MessageID(value) != "":
			all["MESSAGE_ID"] = MessageID(value)
		case a.Key == "identity", a.Key == "nbma" && all[fieldPeer] == "":
			all[fieldPeer] = value
		}
	}
	return all
}

// fieldName returns a key in the letters that the journal allows in the name of a field.
func fieldName(key string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}

// message returns the text of a record with its attributes, in the notation of the text format. It
// leaves out the subsystem, which is only a field.
func message(text string, attrs []slog.Attr) string {
	var b bytes.Buffer
	h := slog.NewTextHandler(&b, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
				return slog.Attr{}
			}
			return a
		},
	})
	var r slog.Record // without a time, the handler writes none
	for _, a := range attrs {
		if a.Key != "subsystem" {
			r.AddAttrs(slog.String(a.Key, cut(a.Value.String())))
		}
	}
	// A buffer takes everything.
	_ = h.Handle(context.Background(), r)
	line := strings.TrimSuffix(b.String(), "\n")
	if line != "" {
		line = ": " + line
	}
	return printable(text) + line
}

// printable returns a text without characters that control a terminal, and no longer than a field
// may be. Such characters are written as in Go, so that nothing that a peer chooses passes for the
// end of a field.
func printable(s string) string {
	s = cut(s)
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsPrint(r) || r == utf8.RuneError
	}) {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// cut shortens a text to what a field may have.
func cut(s string) string {
	if len(s) <= longestField {
		return s
	}
	return strings.ToValidUTF8(s[:longestField], "") + "…"
}
