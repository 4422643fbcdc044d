package message

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// Text returns the string at a key; "" if there is none.
func Text(m *govici.Message, key string) string {
	s, _ := m.Get(key).(string)
	return s
}

// List returns the list of strings at a key; nil if there is none. The message owns the list.
func List(m *govici.Message, key string) []string {
	l, _ := m.Get(key).([]string)
	return l
}

// Texts returns the list of strings at a key, which may also be one string with commas between the
// items; nil if there is neither.
func Texts(m *govici.Message, key string) []string {
	if l := List(m, key); l != nil {
		return l
	}
	if s := Text(m, key); s != "" {
		return strings.Split(s, ",")
	}
	return nil
}

// Number returns the number of the given base at a key; 0 if there is none.
func Number(m *govici.Message, key string, base int) uint64 {
	n, err := strconv.ParseUint(Text(m, key), base, 64)
	if err != nil {
		return 0
	}
	return n
}

// Address returns the IP address at a key, an IPv4 address as such; the zero address if there is
// none.
func Address(m *govici.Message, key string) netip.Addr {
	a, err := netip.ParseAddr(Text(m, key))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

// Time returns the time that a key tells as a number of seconds before (sign -1) or after (sign 1)
// now; the zero time if there is none.
func Time(m *govici.Message, key string, now time.Time, sign time.Duration) time.Time {
	n, err := strconv.ParseInt(Text(m, key), 10, 32)
	if err != nil {
		return time.Time{}
	}
	return now.Add(sign * time.Duration(n) * time.Second)
}

// Section returns the section at a key, and whether there is one.
func Section(m *govici.Message, key string) (*govici.Message, bool) {
	s, ok := m.Get(key).(*govici.Message)
	return s, ok
}

// Sections returns the names and contents of all sections right below a message, in order.
func Sections(m *govici.Message) (names []string, bodies []*govici.Message) {
	for _, key := range m.Keys() {
		if body, ok := m.Get(key).(*govici.Message); ok {
			names, bodies = append(names, key), append(bodies, body)
		}
	}
	return names, bodies
}

// Shorten bounds a text that a peer chose, at least in part, such as its identity: it must not fill
// logs and tables.
func Shorten(text string) string {
	const most = 256 // bytes
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
