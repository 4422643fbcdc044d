package logging

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Override is a level that was set while the daemon runs, for all subsystems, or for what concerns
// one peer.
type Override struct {
	Level slog.Level
	// Peer is an address, a prefix that contains one, or a part of an identity; empty: everything.
	Peer string
	// Addresses are further addresses of the peer.
	Addresses []netip.Addr
	Until     time.Time // zero: until it is replaced or cleared
}

// mostOverrides bounds how many overrides there are at a time.
const mostOverrides = 16

// ErrTooManyOverrides means that there are as many overrides as may be.
var ErrTooManyOverrides = errors.New("16 levels are set already: cygnet log default ends them all")

// overrides are the overrides at one time. A change makes a new value.
type overrides struct {
	list   []Override
	lowest slog.Level // of the list
}

// Override sets a level from now on. It replaces the one that was set for the same peer.
func (l *Loggers) Override(o Override, now time.Time) error {
	l.change.Lock()
	defer l.change.Unlock()
	list := slices.DeleteFunc(l.Overrides(now),
		func(old Override) bool { return old.Peer == o.Peer })
	if len(list) >= mostOverrides {
		return ErrTooManyOverrides
	}
	l.store(append(list, o))
	return nil
}

// ClearOverrides has the levels of the configuration count again.
func (l *Loggers) ClearOverrides() {
	l.change.Lock()
	defer l.change.Unlock()
	l.store(nil)
}

// Overrides returns the overrides that count at a time, in the order in which they were set.
func (l *Loggers) Overrides(now time.Time) []Override {
	set := l.overrides.Load()
	if set == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(set.list), func(o Override) bool { return o.over(now) })
}

// store has a list of overrides count. The caller holds the lock.
func (l *Loggers) store(list []Override) {
	if len(list) == 0 {
		l.overrides.Store(nil)
		return
	}
	set := &overrides{list: list, lowest: list[0].Level}
	for _, o := range list {
		set.lowest = min(set.lowest, o.Level)
	}
	l.overrides.Store(set)
}

// level returns the level from which on a record is logged: that of the override for its peer or
// for everything, or else the configured one. Of several overrides, the lowest level counts.
func (s *overrides) level(configured slog.Level, now time.Time, attrs []slog.Attr) slog.Level {
	peer, all, found, foundAll := slog.Level(0), slog.Level(0), false, false
	for i := range s.list {
		o := &s.list[i]
		switch {
		case o.over(now):
		case o.Peer == "":
			all, foundAll = o.Level, true
		case o.concerns(attrs) && (!found || o.Level < peer):
			peer, found = o.Level, true
		}
	}
	switch {
	case found:
		return peer
	case foundAll:
		return all
	}
	return configured
}

// over reports whether the time of an override is over.
func (o *Override) over(now time.Time) bool { return !o.Until.IsZero() && !now.Before(o.Until) }

// concerns reports whether a record with these attributes is about the override's peer.
func (o *Override) concerns(attrs []slog.Attr) bool {
	prefix, err := netip.ParsePrefix(o.Peer)
	if a, aerr := netip.ParseAddr(o.Peer); aerr == nil {
		prefix, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	text := strings.ToLower(o.Peer)
	return slices.ContainsFunc(attrs, func(a slog.Attr) bool {
		value := a.Value.String()
		if err != nil && a.Key == "identity" && strings.Contains(strings.ToLower(value), text) {
			return true
		}
		for word := range strings.FieldsSeq(value) {
			addr, aerr := netip.ParseAddr(strings.Trim(word, "{}[],"))
			if aerr == nil && (err == nil && prefix.Contains(addr) ||
				slices.Contains(o.Addresses, addr)) {
				return true
			}
		}
		return false
	})
}
