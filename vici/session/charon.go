package session

import (
	"context"
	"strconv"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/message"
)

// Charon is what a charon says about itself.
type Charon struct {
	Version string    // strongSwan's, such as "5.9.8"
	Started time.Time // when it started; zero: it did not say

	// KeyExchanges are the methods that charon can use for additional key exchanges (RFC 9370), by
	// their keywords in proposals. It is nil before strongSwan 6.0, which has none.
	KeyExchanges map[string]bool
}

// charon asks charon about itself.
func (s *Session) charon(ctx context.Context, timeout time.Duration) (Charon, error) {
	answer, err := s.Call(ctx, timeout, "version", nil)
	if err != nil {
		return Charon{}, err
	}
	c := Charon{Version: message.Text(answer, "version")}
	if c.Started, err = s.started(ctx, timeout); err != nil {
		return Charon{}, err
	}
	c.KeyExchanges, err = s.keyExchanges(ctx, timeout, c.Version)
	return c, err
}

// started asks charon since when it runs.
func (s *Session) started(ctx context.Context, timeout time.Duration) (time.Time, error) {
	answer, err := s.Call(ctx, timeout, "stats", nil)
	if _, no := refused(err); no {
		return time.Time{}, nil // only a metric is left out
	}
	if err != nil {
		return time.Time{}, err
	}
	return since(answer), nil
}

// since reads since when charon runs, which it writes as "Dec 01 12:00:00 2026" by the local time
// of this host.
func since(stats *govici.Message) time.Time {
	uptime, ok := message.Section(stats, "uptime")
	if !ok {
		return time.Time{}
	}
	at, err := time.ParseInLocation("Jan 02 15:04:05 2006", message.Text(uptime, "since"),
		time.Local)
	if err != nil {
		return time.Time{}
	}
	return at
}

// keyExchanges asks charon for Charon.KeyExchanges.
func (s *Session) keyExchanges(
	ctx context.Context, timeout time.Duration, version string,
) (map[string]bool, error) {
	if !AtLeast(version, 6) {
		return nil, nil
	}
	answer, err := s.Call(ctx, timeout, "get-algorithms", govici.NewMessage())
	if _, no := refused(err); no {
		return nil, nil // additional key exchanges are left out; everything else works
	}
	if err != nil {
		return nil, err
	}
	return keywords(answer), nil
}

// keywords reads the key exchanges from charon's list of algorithms, which calls mlkem768
// "ML_KEM_768".
func keywords(algorithms *govici.Message) map[string]bool {
	known := map[string]bool{}
	for _, name := range []string{"ke", "dh"} {
		if methods, ok := message.Section(algorithms, name); ok {
			for _, method := range methods.Keys() {
				known[strings.ToLower(strings.ReplaceAll(method, "_", ""))] = true
			}
		}
	}
	return known
}

// EventsOf returns the events that a link subscribes to, as far as a version of strongSwan has
// them: ike-update came with 5.9.2, alert with 6.0.3.
func EventsOf(version string) []string {
	events := []string{"ike-updown", "child-updown", "ike-rekey", "child-rekey"}
	if AtLeast(version, 5, 9, 2) {
		events = append(events, "ike-update")
	}
	if AtLeast(version, 6, 0, 3) {
		events = append(events, "alert")
	}
	return events
}

// AtLeast reports whether a version, such as "5.9.8" or "6.0.0rc1", is the wanted one or a later
// one.
func AtLeast(version string, wanted ...int) bool {
	parts := strings.SplitN(version, ".", len(wanted))
	for i, want := range wanted {
		part := ""
		if i < len(parts) {
			part = parts[i]
		}
		if end := strings.IndexFunc(part, func(c rune) bool {
			return c < '0' ||
				c > '9'
		}); end >= 0 {
			part = part[:end]
		}
		if have, _ := strconv.Atoi(part); have != want {
			return have > want
		}
	}
	return true
}
