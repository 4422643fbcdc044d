// Package difference compares two configurations of an interface: which settings differ, and what
// the change of each costs the interface's traffic.
package difference

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"cygnet/nhrpd/config"
	"cygnet/nhrpd/config/secret"
	"cygnet/nhrpd/policy"
)

// Change is a setting that two configurations have with different values.
type Change struct {
	Key      string // as the file has it, with the table below [interface.NAME] that it is in
	From, To string // empty: none; of a secret, both are "(secret)"

	// Interrupts is what the change costs this interface's traffic, as a clause. It is empty where
	// the traffic goes on.
	Interrupts string
}

// setting is a field of [config.Interface] or of a struct in it, as the file calls it.
type setting struct {
	key        string
	interrupts string
}

// What a change costs an interface's traffic.
const (
	otherAddress = "traffic from and to the address of before ends"
	otherTunnel  = "traffic stops until the other routers have the same"
	otherLine    = "every SA is made anew, and traffic waits for that"
	otherVRF     = "the kernel takes back the routes over the tunnel, until they are set again"
	otherTable   = "this router leaves the overlay and joins it again, and traffic waits for that"
	lostServers  = "traffic by servers that go finds another one, or ends"
	stricterSAs  = "SAs that the new settings do not allow are closed and made anew; others stay"
	algorithms   = "SAs that the new settings do not allow are replaced, which may lose a packet; others stay"
	lateSAs      = "" // SAs that are there keep theirs until they are rekeyed or made anew
)

// settings has the name of each field of [config.Interface], and of the structs in it, with what a
// change costs. Fields that follow from others have no key, and are not compared.
var settings = map[string]setting{
	"Name": {}, "VRFTable": {},
	"Address":        {"address", otherAddress},
	"Overlay":        {"overlay", ""},
	"Second":         {"address (second)", otherAddress},
	"Underlay":       {"underlay", otherLine},
	"Reserve":        {"underlay (in reserve)", ""},
	"WarmReserve":    {"underlay_reserve", ""},
	"UnderlayReturn": {"underlay_return", ""},
	"UnderlayTable":  {"underlay_table", otherLine},
	"UnderlayVRF":    {"underlay_vrf", otherLine},
	"UnderlayRule":   {"underlay_rule", ""},
	"Key":            {"key", otherTunnel},
	"TTL":            {"ttl", ""},
	"MTU":            {"mtu", ""},
	"AutoMTU":        {"mtu (auto)", ""},
	"OuterDF":        {"outer_df", ""},
	"MSS":            {"mss", ""},
	"VRF":            {"vrf", otherVRF},
	"Table":          {"table", otherTable},
	"Metric":         {"metric", ""},
	"HostTable":      {"host_table", otherTable},
	"HostRule":       {"host_rule", otherTable},
	"HoldingTime":    {"holding_time", ""},
	"IdleTime":       {"idle_time", ""},
	"Authentication": {"authentication", "routers with another password are refused when they register again"},
	"Unique":         {"unique", ""},
	"Redirect":       {"redirect", ""},
	"Shortcut":       {"shortcut", ""},
	"Server":         {"server", ""},
	"Admission":      {"admission", ""},
	"SourceCheck":    {"source_check", ""},
	"NHS":            {"nhs", lostServers},
	"MaxConnections": {"max_connections", ""},
	"FallbackDelay":  {"fallback_delay", ""},
	"Maps":           {"map", ""},
	"Announce":       {"announce", ""},
	"Accept":         {"accept", ""},
	"Policy":         {"peer", "routers that no rule allows any more are refused"},
	"IfState":        {"if_state", ""},
	"Protected":      {"protection", otherTunnel},

	"Authorize.Socket":  {"authorize", ""},
	"Authorize.Timeout": {"authorize_timeout", ""},
	"Authorize.Allow":   {"authorize_default (allow)", ""},

	"Limits.Bindings":         {"limits.bindings", ""},
	"Limits.Prefixes":         {"limits.prefixes", ""},
	"Limits.Shortcuts":        {"limits.shortcuts", ""},
	"Limits.Answers":          {"limits.answers", ""},
	"Limits.Held":             {"limits.held", ""},
	"Limits.Indications":      {"limits.indications", ""},
	"Limits.Errors":           {"limits.errors", ""},
	"Limits.Requests":         {"limits.requests", ""},
	"Limits.Transit":          {"limits.transit", ""},
	"Limits.SAs":              {"limits.sas", ""},
	"Limits.Links":            {"limits.links", ""},
	"Limits.MulticastPackets": {"limits.multicast_packets", ""},
	"Limits.MulticastBytes":   {"limits.multicast_bytes", ""},

	"Multicast.NHSs":    {"multicast (nhs)", ""},
	"Multicast.Clients": {"multicast (clients)", ""},
	"Multicast.Routers": {"multicast (routers)", ""},
	"Multicast.Allow":   {"multicast_allow", ""},
	"Multicast.Deny":    {"multicast_deny", ""},
	"Multicast.Relay":   {"multicast_relay", ""},

	"Paths.Prove":      {"prove_paths", ""},
	"Paths.ProvenOnly": {"prove_paths (only)", ""},
	"Paths.SmallerMTU": {"large_packets", ""},
	"Paths.Timeout":    {"path_timeout", ""},

	"IPsec.SwanctlConnection": {"ipsec.swanctl_connection", stricterSAs},
	"IPsec.SwanctlConf":       {"ipsec.swanctl_conf", stricterSAs},
	"IPsec.Swanctl":           {"the connection in swanctl.conf", stricterSAs},
	"IPsec.Identity":          {"ipsec.identity", stricterSAs},
	"IPsec.RemoteIdentity":    {"ipsec.remote_identity", stricterSAs},
	"IPsec.Auth":              {"ipsec.auth", stricterSAs},
	"IPsec.PSKFile":           {"ipsec.psk_file", ""},
	"IPsec.PSK":               {"the key in ipsec.psk_file", lateSAs},
	"IPsec.Certs":             {"ipsec.certificates", lateSAs},
	"IPsec.CACerts":           {"ipsec.ca", stricterSAs},
	"IPsec.Proposals":         {"ipsec.proposals", algorithms},
	"IPsec.ESPProposals":      {"ipsec.esp_proposals", algorithms},
	"IPsec.DPDDelay":          {"ipsec.dpd_delay", lateSAs},
	"IPsec.RekeyTime":         {"ipsec.rekey_time", lateSAs},
	"IPsec.ChildRekeyTime":    {"ipsec.child_rekey_time", lateSAs},
	"IPsec.PerKey":            {"ipsec.sa (per-key)", otherTunnel},
	"IPsec.Connection":        {"ipsec.connection", stricterSAs},
	"IPsec.Child":             {"ipsec.child", stricterSAs},
}

// OtherTunnel reports whether two configurations of an interface make different tunnels, so that no
// packet passes until the other routers have changed likewise.
func OtherTunnel(from, to *config.Interface) bool {
	return slices.ContainsFunc(Between(from, to),
		func(c Change) bool { return c.Interrupts == otherTunnel })
}

// Between returns what differs between two configurations of one interface, in the order of
// the fields of [config.Interface].
func Between(from, to *config.Interface) []Change {
	var changes []Change
	compare("", reflect.ValueOf(*from), reflect.ValueOf(*to), &changes)
	return changes
}

// parts lists the fields of [config.Interface] whose own fields are settings.
var parts = []string{"Authorize", "Limits", "Multicast", "Paths", "IPsec"}

// compare adds the settings of two structs that differ.
func compare(table string, from, to reflect.Value, changes *[]Change) {
	for i := range from.NumField() {
		name := table + from.Type().Field(i).Name
		a, b := from.Field(i), to.Field(i)
		if same(a.Interface(), b.Interface()) {
			continue
		}
		if table == "" && slices.Contains(parts, name) {
			compare(name+".", pointed(a), pointed(b), changes)
			continue
		}
		s := settings[name]
		if s.key == "" {
			continue
		}
		c := Change{Key: s.key, From: text(a), To: text(b), Interrupts: s.interrupts}
		if name == "NHS" && keepsServers(a, b) {
			c.Interrupts = ""
		}
		*changes = append(*changes, c)
	}
}

// same reports whether two values of a setting are the same for the one who wrote them. Rules are,
// too, where only their lines in the file differ.
func same(a, b any) bool {
	if rules, is := a.(*policy.Rules); is {
		return rules.Equal(b.(*policy.Rules))
	}
	return reflect.DeepEqual(a, b)
}

// keepsServers reports whether a change of the NHSs leaves all that were there.
func keepsServers(from, to reflect.Value) bool {
	after, _ := to.Interface().([]config.NHS)
	before, _ := from.Interface().([]config.NHS)
	return !slices.ContainsFunc(before, func(n config.NHS) bool {
		return !slices.ContainsFunc(after, func(s config.NHS) bool { return s.NBMA == n.NBMA })
	})
}

// pointed returns the struct that v is, or points to; a nil pointer counts as a struct of zeros.
func pointed(v reflect.Value) reflect.Value {
	switch {
	case v.Kind() != reflect.Pointer:
		return v
	case v.IsNil():
		return reflect.Zero(v.Type().Elem())
	}
	return v.Elem()
}

// longestText is how much of a value a difference shows.
const longestText = 200

// text returns a value for people; "" for none.
func text(v reflect.Value) string {
	if v.IsZero() && v.Kind() != reflect.Bool && !v.CanInt() && !v.CanUint() {
		return ""
	}
	var s string
	switch x := v.Interface().(type) {
	case secret.Secret:
		return x.String()
	case fmt.Stringer:
		s = x.String()
	case []config.NHS:
		names := make([]string, len(x))
		for i := range x {
			names[i] = x[i].NBMA
		}
		s = strings.Join(names, ", ")
	default:
		switch {
		case v.Kind() == reflect.Map, v.Kind() == reflect.Struct:
			return "set"
		case v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct:
			return "set"
		case v.Kind() == reflect.Pointer:
			s = fmt.Sprint(v.Elem().Interface())
		default:
			s = fmt.Sprint(v.Interface())
		}
	}
	if len(s) > longestText {
		s = s[:longestText] + "…"
	}
	return s
}
