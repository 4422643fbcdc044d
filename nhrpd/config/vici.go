package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cygnet/nhrpd/config/document"
)

// These keys are not allowed in the free VICI maps. The text says why: the key has a setting of its
// own, or the daemon depends on its value.
var (
	connectionKeys = map[string]string{
		"version":      "the daemon needs IKEv2",
		"children":     "it is the daemon's own; child = { … } adds keys to it",
		"remote_addrs": "the daemon sets it for each peer",
		"local_addrs":  "set underlay in the interface's table",
		"proposals":    "set proposals in the ipsec table",
		"dpd_delay":    "set dpd_delay in the ipsec table",
		"rekey_time":   "set rekey_time in the ipsec table",
	}
	childKeys = map[string]string{
		"mode":          "GRE needs transport mode",
		"local_ts":      "it is GRE from the underlay address",
		"remote_ts":     "it is GRE to the peer",
		"start_action":  "the daemon starts SAs when they are needed",
		"ah_proposals":  "AH leaves what it protects readable",
		"esp_proposals": "set esp_proposals in the ipsec table",
		"rekey_time":    "set child_rekey_time in the ipsec table",
	}
)

// viciMaps checks the maps of further VICI keys.
type viciMaps struct{ *document.Document }

// convert checks a map and converts it to the three kinds of values that VICI has. kept are the
// keys that it may not have, each with the reason.
func (c viciMaps) convert(v document.Value[map[string]any], kept map[string]string) map[string]any {
	for _, key := range slices.Sorted(maps.Keys(v.V)) {
		if why, ok := kept[key]; ok {
			c.Report(v.At.Key(key), "this key cannot be given here: %s", why)
		}
	}
	if !v.Set {
		return nil
	}
	return c.section(v.At, v.V)
}

func (c viciMaps) section(at document.Place, in map[string]any) map[string]any {
	const longest = 255 // VICI has one byte for the length of a name
	out := make(map[string]any, len(in))
	for _, key := range slices.Sorted(maps.Keys(in)) {
		if !printable(key) || len(key) > longest || strings.ContainsAny(key, " .{}=") {
			c.Report(at.Key(key), "found the VICI key %s, allowed are letters, digits, - and _",
				document.Quote(key))
			continue
		}
		if x, ok := c.value(at.Key(key), in[key]); ok {
			out[key] = x
		}
	}
	return out
}

func (c viciMaps) value(at document.Place, x any) (any, bool) {
	switch x := x.(type) {
	case map[string]any:
		return c.section(at, x), true
	case []any:
		items := make([]string, 0, len(x))
		for i, e := range x {
			s, ok := c.text(at.Element(i), e)
			if !ok {
				return nil, false
			}
			items = append(items, s)
		}
		return items, true
	}
	s, ok := c.text(at, x)
	return s, ok
}

// text writes a scalar as swanctl.conf does.
func (c viciMaps) text(at document.Place, x any) (string, bool) {
	const longest = 65535
	switch x := x.(type) {
	case string:
		if len(x) <= longest {
			return x, true
		}
	case bool:
		if x {
			return "yes", true
		}
		return "no", true
	case int64:
		return fmt.Sprint(x), true
	}
	c.Report(at, "found %s, allowed is a string of at most %d bytes, an integer, true or false, a list of these or a table", document.Kind(x), longest)
	return "", false
}
