package authorizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// Version is the version of the protocol. Each line of both sides has it.
const Version = 1

// Bounds on what an authorizer may answer.
const (
	MaxLine     = 16 << 10 // bytes of one line, with its end
	maxText     = 200      // characters of a reason
	maxPrefixes = 256      // in announce
)

// How long a ruling holds.
const (
	defaultLifetime = 5 * time.Minute
	leastLifetime   = 5 * time.Second
	mostLifetime    = 24 * time.Hour
)

// Question is a question as the authorizer gets it.
type Question struct {
	V         int    `json:"v"`
	ID        uint64 `json:"id"`
	Kind      string `json:"kind"` // KindRegistration
	Interface string `json:"interface"`

	Identity   string   `json:"identity"`
	SharedWith []string `json:"shared_with,omitempty"`

	Address    netip.Addr `json:"address"`
	NBMA       netip.Addr `json:"nbma"`
	ClientNBMA netip.Addr `json:"client_nbma"`
	NAT        bool       `json:"nat"`
	Registered bool       `json:"registered"`
}

// KindRegistration is the only kind of question: whether a client may be registered.
const KindRegistration = "registration"

// Answer is what an authorizer says of one question.
type Answer struct {
	ID         uint64
	Refused    bool
	Reason     string // printable, at most maxText characters
	Lifetime   time.Duration
	Bounded    bool // Announce bounds what the client may announce
	Announce   []netip.Prefix
	NoShortcut bool
}

// line is a line of an authorizer as it is written: an answer, or a recheck. Whether a key is there
// matters, since one that is missing narrows nothing.
type line struct {
	V        *int            `json:"v"`
	ID       *uint64         `json:"id"`
	Allow    *bool           `json:"allow"`
	Reason   json.RawMessage `json:"reason"`
	TTL      json.RawMessage `json:"ttl"`
	Announce json.RawMessage `json:"announce"`
	Shortcut json.RawMessage `json:"shortcut"`
	Recheck  *string         `json:"recheck"`
}

// parse reads a line of an authorizer. It returns the answer or, if the line is none, the identity
// to ask about again, which is empty for all. It takes nothing that it does not know: a key that is
// misspelt would have narrowed the ruling.
func parse(data []byte) (a *Answer, recheck string, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var l line
	if err := d.Decode(&l); err != nil {
		return nil, "", fmt.Errorf("read the line as JSON: %w", err)
	}
	if d.More() {
		return nil, "", errors.New("the line has more than one object")
	}
	switch {
	case l.V == nil || *l.V != Version:
		return nil, "", fmt.Errorf("want \"v\": %d", Version)
	case l.Recheck != nil:
		if l.ID != nil || l.Allow != nil || l.Announce != nil || l.Shortcut != nil ||
			l.TTL != nil || l.Reason != nil {
			return nil, "", errors.New("\"recheck\" stands alone with \"v\"")
		}
		return nil, *l.Recheck, nil
	case l.ID == nil || l.Allow == nil:
		return nil, "", errors.New("want \"id\" and \"allow\", or \"recheck\"")
	}
	a, err = l.answer()
	return a, "", err
}

// answer checks the parts of an answer.
func (l *line) answer() (*Answer, error) {
	a := &Answer{ID: *l.ID, Refused: !*l.Allow, Lifetime: defaultLifetime}
	ttl, shortcut := int64(defaultLifetime/time.Second), true
	var prefixes []string
	for _, part := range []struct {
		key  string
		from json.RawMessage
		to   any
	}{
		{"reason", l.Reason, &a.Reason}, {"ttl", l.TTL, &ttl},
		{"announce", l.Announce, &prefixes}, {"shortcut", l.Shortcut, &shortcut},
	} {
		if part.from == nil {
			continue
		}
		if bytes.Equal(part.from, []byte("null")) {
			return nil, fmt.Errorf("found null for %q: leave the key out to narrow nothing",
				part.key)
		}
		if err := json.Unmarshal(part.from, part.to); err != nil {
			return nil, fmt.Errorf("read %q: %w", part.key, err)
		}
	}
	if ttl < 0 {
		return nil, fmt.Errorf("found \"ttl\" %d, allowed are seconds from 0 on", ttl)
	}
	ttl = min(ttl, int64(mostLifetime/time.Second))
	a.Lifetime = max(time.Duration(ttl)*time.Second, leastLifetime)
	a.Reason, a.NoShortcut, a.Bounded = printable(a.Reason), !shortcut, l.Announce != nil
	if len(prefixes) > maxPrefixes {
		return nil, fmt.Errorf("found %d prefixes in \"announce\", allowed are %d",
			len(prefixes), maxPrefixes)
	}
	for _, text := range prefixes {
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf(
				"found %q in \"announce\", allowed are prefixes without host bits", printable(text))
		}
		a.Announce = append(a.Announce, p)
	}
	return a, nil
}

// printable returns a text fit for a log line, without what is not printable and not too long.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > maxText {
		text = string(runes[:maxText])
	}
	return strings.TrimSpace(text)
}
