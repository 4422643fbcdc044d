package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"cygnet/nhrpd/api"
)

// show asks for a list and writes it, as JSON or as a table.
func show[T any](in *invocation, get func(*api.Client, context.Context) ([]T, error), none string, tabulate func([]T, time.Time) *table) error {
	client, ctx, cancel := in.ask()
	defer cancel()
	entries, err := get(client, ctx)
	if err != nil {
		return err
	}
	if in.json {
		return in.printJSON(entries)
	}
	if len(entries) == 0 {
		in.printf("%s\n", none)
		return nil
	}
	return tabulate(entries, in.now()).write(&in.out)
}

func showPeers(in *invocation, _ string) error {
	return show(in, (*api.Client).Peers, "No peers.", peerTable)
}

func peerTable(peers []api.Peer, now time.Time) *table {
	t := newTable("INTERFACE", "NBMA", "STATE", "SINCE", "IDENTITY", "INITIATED", "NAT", "IN", "OUT", "WANTED FOR", "ADMITTED", "PROBLEM")
	for _, p := range peers {
		t.row(p.Interface, address(p.NBMA, p.Mark), p.State, when(p.Since, now), p.Identity, initiated(p.State == api.PeerSecured && p.Identity != "", p.Initiator),
			nat(p.LocalNAT, p.RemoteNAT), when(p.In, now), when(p.Out, now), strings.Join(p.Interest, ", "), yes(p.Admitted), cmp.Or(p.Prohibited, p.Error, sharers(p)))
	}
	return t
}

// address is that of a peer, with the mark of its SA where others have the address as well.
func address(nbma netip.Addr, mark uint32) any {
	if mark == 0 {
		return nbma
	}
	return fmt.Sprintf("%s, mark %d", nbma, mark)
}

// sharers names the other routers at a peer's address.
func sharers(p api.Peer) string {
	if len(p.SharedWith) == 0 {
		return ""
	}
	return "shares its address with " + strings.Join(p.SharedWith, ", ")
}

func initiated(up, here bool) string {
	switch {
	case !up:
		return ""
	case here:
		return "here"
	}
	return "there"
}

// nat says which ends are behind NAT.
func nat(local, remote bool) string {
	switch {
	case local && remote:
		return "both"
	case local:
		return "here"
	case remote:
		return "there"
	}
	return ""
}

func showBindings(in *invocation, _ string) error {
	return show(in, (*api.Client).Bindings, "No bindings.", bindingTable)
}

func bindingTable(bindings []api.Binding, now time.Time) *table {
	t := newTable("INTERFACE", "PROTOCOL", "NBMA", "CLIENT SAYS", "SECURED", "IDENTITY", "KIND", "UNIQUE", "MTU", "PREFIXES", "REGISTERED", "EXPIRES")
	for _, b := range bindings {
		kind, mtu := "registered", ""
		if b.Static {
			kind = "static"
		}
		if b.MTU > 0 {
			mtu = fmt.Sprint(b.MTU)
		}
		t.row(b.Interface, b.Protocol, address(b.NBMA, b.Mark), b.ClientNBMA, yes(b.Secured), b.Identity, kind, yes(b.Unique), mtu, prefixes(b.Prefixes), when(b.Registered, now), when(b.Expires, now))
	}
	return t
}

// prefixes puts a list into one cell.
func prefixes(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	return strings.Join(texts, " ")
}

func showShortcuts(in *invocation, _ string) error {
	return show(in, (*api.Client).Shortcuts, "No shortcuts.", shortcutTable)
}

func shortcutTable(shortcuts []api.Shortcut, now time.Time) *table {
	t := newTable("INTERFACE", "PREFIX", "STATE", "SINCE", "NEXT HOP", "NBMA", "USED", "EXPIRES")
	for _, s := range shortcuts {
		t.row(s.Interface, s.Prefix, s.State, when(s.Since, now), s.NextHop, address(s.NBMA, s.Mark), when(s.Used, now), when(s.Expires, now))
	}
	return t
}

func showNHS(in *invocation, _ string) error {
	return show(in, (*api.Client).NHS, "No NHS is configured: this router registers with nobody.", nhsTable)
}

func nhsTable(servers []api.NHS, now time.Time) *table {
	t := newTable("INTERFACE", "NHS", "PROTOCOL", "NBMA", "STATE", "REGISTERED", "EXPIRES", "NEXT REQUEST", "UNANSWERED", "PREFIXES", "PROBLEM")
	for _, n := range servers {
		unanswered := ""
		if n.Attempts > 0 {
			unanswered = fmt.Sprint(n.Attempts)
		}
		t.row(n.Interface, n.Name, n.Protocol, n.NBMA, n.State, when(n.Registered, now), when(n.Expires, now), when(n.Next, now), unanswered, prefixes(n.Announced), n.Error)
	}
	return t
}

func showRoutes(in *invocation, _ string) error {
	return show(in, (*api.Client).Routes, "No routes.", routeTable)
}

func routeTable(routes []api.Route, _ time.Time) *table {
	t := newTable("INTERFACE", "PREFIX", "NEXT HOP", "TABLE", "METRIC", "INSTALLED", "PROBLEM")
	for _, r := range routes {
		installed := "no"
		if r.Installed {
			installed = "yes"
		}
		t.row(r.Interface, r.Prefix, r.NextHop, r.Table, r.Metric, installed, r.Error)
	}
	return t
}

func showSAs(in *invocation, _ string) error {
	return show(in, (*api.Client).SAs, "No SAs.", saTable)
}

// saTable has a row for each child, and one for an IKE_SA without any.
func saTable(sas []api.SA, now time.Time) *table {
	t := newTable("INTERFACE", "REMOTE", "IDENTITY", "IKE", "ID", "UP SINCE", "INITIATED", "NAT", "CHILD", "MODE", "SPI IN", "SPI OUT", "IN", "OUT", "ESP", "REKEY")
	for _, s := range sas {
		ike := []any{s.Interface, s.Remote, s.RemoteIdentity, s.State, s.ID, when(s.Established, now), initiated(true, s.Initiator), nat(s.LocalNAT, s.RemoteNAT)}
		if len(s.Children) == 0 {
			t.row(append(ike, "", "", "", "", "", "", "", "")...)
		}
		for _, c := range s.Children {
			t.row(append(ike[:len(ike):len(ike)], c.State, c.Mode, c.SPIIn, c.SPIOut, size(c.BytesIn), size(c.BytesOut), c.Proposal, when(c.Rekey, now))...)
		}
	}
	return t
}
