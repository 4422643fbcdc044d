package config

import (
	"bytes"
	"fmt"
	"reflect"

	"cygnet/nhrpd/config/document"
)

// clashes are the checks of interfaces against each other.
type clashes struct{ *document.Document }

// among checks all interfaces against each other.
func (c clashes) among(all []Interface) {
	for i := range all {
		for j := range i {
			c.tunnelClash(&all[j], &all[i])
			c.overlayClash(&all[j], &all[i])
		}
		for j := range all {
			c.hostTableClash(&all[i], &all[j])
		}
	}
}

// tunnelClash refuses two tunnels that cannot be told apart, or cannot have SAs side by side. The
// kernel tells tunnels on one underlay apart only by their keys.
func (c clashes) tunnelClash(a, b *Interface) {
	if !a.Underlay.overlaps(b.Underlay) {
		return
	}
	at := document.Place{}.Key("interface").Key(b.Name)
	if a.Protected != b.Protected {
		c.Report(at.Key("protection"), "differs from that of %s on the same underlay %s, and the block on clear GRE is for the whole address; allowed is one for all tunnels on an underlay", a.Name, b.Underlay)
	}
	if a.SharesUnderlay(b) {
		c.underlayClash(a, b)
		c.ipsecClash(a, b)
	}
	switch {
	case a.Key == nil && b.Key == nil:
		c.Report(at.Key("underlay"), "found %s without a key, which %s has too; allowed is one tunnel without a key on an underlay: give each a key", b.Underlay, a.Name)
	case a.Key != nil && b.Key != nil && *a.Key == *b.Key:
		c.Report(at.Key("key"), "found %d, which %s has on the same underlay %s; allowed is each key once", *b.Key, a.Name, b.Underlay)
	}
}

// SharesUnderlay reports whether two interfaces are protected and send from one underlay. They then
// share the SA with each router, which is for all GRE between two addresses, or each has an SA of
// its own for its key.
func (i *Interface) SharesUnderlay(o *Interface) bool {
	return i.Protected && o.Protected && i.Underlay == o.Underlay
}

// underlayClash refuses two interfaces that are protected on one underlay and whose packets would
// take different ways. Several underlay devices are no basis for SAs of several tunnels: each
// tunnel chooses one for itself.
func (c clashes) underlayClash(a, b *Interface) {
	at := document.Place{}.Key("interface").Key(b.Name)
	of := document.Place{}.Key("interface").Key(a.Name)
	switch {
	case len(a.Reserve)+len(b.Reserve) > 0:
		c.Report(at.Key("underlay"), "found %s, which %s is protected on too, and one of the two names several devices; allowed is one device for several tunnels on it", b.Underlay, a.Name)
	case a.UnderlayVRF != b.UnderlayVRF:
		c.Report(at.Key("underlay_vrf"), "differs from %s on the same underlay %s; allowed is one for all tunnels on an underlay", of.Key("underlay_vrf"), b.Underlay)
	case a.UnderlayTable != b.UnderlayTable:
		c.Report(at.Key("underlay_table"), "differs from %s on the same underlay %s; allowed is one for all tunnels on an underlay", of.Key("underlay_table"), b.Underlay)
	}
}

// ipsecClash refuses two interfaces that are protected on one underlay and have different IPsec
// settings. A shared SA can have been made by the settings of one of them only. Of SAs for one key
// each, charon chooses the settings before it knows the key: the identities and the secrets may
// differ if no identity fits both.
func (c clashes) ipsecClash(a, b *Interface) {
	if a.IPsec == nil || b.IPsec == nil {
		return // reported already
	}
	of := func(i *Interface, key string) document.Place {
		return document.Place{}.Key("interface").Key(i.Name).Key("ipsec").Key(key)
	}
	if a.IPsec.PerKey != b.IPsec.PerKey {
		c.Report(of(b, "sa"), "differs from %s, but %s and %s send from %s, and an SA that is shared there would carry the GRE of both; allowed is one for all tunnels on an underlay, or another address of this router for one of the two",
			of(a, "sa"), a.Name, b.Name, b.Underlay)
	}
	why, apart := "and so share the SA with each router", a.ToldApart(b)
	instead := "the same IPsec settings"
	if a.IPsec.PerKey && b.IPsec.PerKey {
		why = "and strongSwan chooses the settings for a router that dials in before it knows the key"
		instead += ", or identities and secrets of their own if no identity fits both (such as identity = \"hub.blue.example\" with remote_identity = \"*.blue.example\")"
	}
	for _, setting := range ipsecSettings {
		one, other := setting.of(a.IPsec), setting.of(b.IPsec)
		if reflect.DeepEqual(one, other) || setting.identity && apart {
			continue
		}
		c.Report(of(b, setting.key), "differs from %s, but %s and %s send from %s %s; allowed are %s, or another address of this router for one of the two",
			of(a, setting.key), a.Name, b.Name, b.Underlay, why, instead)
	}
	if known := a.IPsec.PSK != nil && b.IPsec.PSK != nil; known && !apart &&
		!bytes.Equal(a.IPsec.PSK, b.IPsec.PSK) {
		c.Report(of(b, "psk_file"), "the secret in %s differs from that in %s (%s), but %s and %s send from %s %s; allowed are %s, or another address of this router for one of the two",
			b.IPsec.PSKFile, a.IPsec.PSKFile, of(a, "psk_file"), a.Name, b.Name, b.Underlay, why,
			instead)
	}
}

// ipsecSettings are the settings that interfaces which are protected on one underlay must have in
// common, besides the secret and sa.
var ipsecSettings = []struct {
	key      string
	identity bool // it may differ where identities tell the interfaces apart
	of       func(*IPsec) any
}{
	{"swanctl_connection", false, func(s *IPsec) any { return s.SwanctlConnection }},
	{"swanctl_conf", false, func(s *IPsec) any { return s.SwanctlConf }},
	{"identity", true, func(s *IPsec) any { return s.Identity }},
	{"remote_identity", true, func(s *IPsec) any { return s.RemoteIdentity }},
	{"auth", false, func(s *IPsec) any { return s.Auth }},
	{"certificates", false, func(s *IPsec) any { return fmt.Sprint(s.Certs) }},
	{"ca", false, func(s *IPsec) any { return fmt.Sprint(s.CACerts) }},
	{"proposals", false, func(s *IPsec) any { return fmt.Sprint(s.Proposals) }},
	{"esp_proposals", false, func(s *IPsec) any { return fmt.Sprint(s.ESPProposals) }},
	{"dpd_delay", false, func(s *IPsec) any { return s.DPDDelay }},
	{"rekey_time", false, func(s *IPsec) any { return s.RekeyTime }},
	{"child_rekey_time", false, func(s *IPsec) any { return s.ChildRekeyTime }},
	{"connection", false, func(s *IPsec) any { return fmt.Sprint(s.Connection) }},
	{"child", false, func(s *IPsec) any { return fmt.Sprint(s.Child) }},
}

// hostTableClash refuses a table for host routes that another interface forwards by. Its other
// routes would come before more specific ones elsewhere.
func (c clashes) hostTableClash(a, b *Interface) {
	if a != b && a.HostTable != 0 && a.HostTable == b.Table {
		c.Report(document.Place{}.Key("interface").Key(a.Name).Key("host_table"),
			"found %d, which is the table of %s; allowed is one that nothing else uses",
			a.HostTable, b.Name)
	}
}

// overlayClash refuses two interfaces with overlapping prefixes in one routing table, where a
// prefix can lead to one interface only. Each VRF may have the same overlay.
func (c clashes) overlayClash(a, b *Interface) {
	if a.VRF != b.VRF {
		return
	}
	at := document.Place{}.Key("interface").Key(b.Name).Key("address")
	for _, f := range b.Families() {
		other := a.FamilyOf(f.Address.Addr())
		switch {
		case !f.Address.IsValid() || !other.Address.IsValid():
		case other.Address.Addr() == f.Address.Addr():
			c.Report(at, "found %s, the overlay address of %s; allowed is each address once",
				f.Address, a.Name)
		case a.Table == b.Table && other.ownRange().Overlaps(f.ownRange()):
			c.Report(at, "found %s, which overlaps with %s of %s in the same routing table; allowed are separate overlays, or a table for each", f.Address, other.Address, a.Name)
		}
	}
}
