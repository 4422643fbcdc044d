package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/health"
)

// view is how a list is requested and shown.
type view[T any] struct {
	get      func(*api.Client, context.Context) ([]T, error)
	none     string // the text for an empty list
	tabulate func([]T, time.Time) *table
	wanted   func(filter, T) bool        // nil: the command takes no filter
	note     func([]T, time.Time) string // the text before the table, if it is not empty; nil: none
}

// show requests a list and writes it as JSON or as a table: the entries that fit the filter wanted,
// in the order that --sort asks for.
func show[T any](in *invocation, v view[T], wanted string) error {
	client, ctx, cancel := in.ask()
	defer cancel()
	entries, err := v.get(client, ctx)
	if err != nil {
		return err
	}
	none := v.none
	if wanted != "" {
		f := parseFilter(wanted)
		if len(entries) > 0 {
			none = fmt.Sprintf("None of %d fits %s.", len(entries), clean(wanted))
		}
		entries = slices.DeleteFunc(entries, func(e T) bool { return !v.wanted(f, e) })
	}
	t := v.tabulate(entries, in.now())
	if in.sort != "" {
		places, err := t.order(in.sort)
		if err != nil {
			return err
		}
		entries, t.rows = inOrder(entries, places), inOrder(t.rows, places)
	}
	if in.json {
		return in.printJSON(entries)
	}
	if len(entries) == 0 {
		in.printf("%s\n", none)
		return nil
	}
	if v.note != nil {
		if note := v.note(entries, in.now()); note != "" {
			in.printf("%s\n\n", note)
		}
	}
	return t.write(&in.out, in.wide)
}

func inOrder[T any](list []T, places []int) []T {
	out := make([]T, len(list))
	for i, n := range places {
		out[i] = list[n]
	}
	return out
}

func showPeers(in *invocation, wanted string) error {
	return show(in, view[api.Peer]{
		(*api.Client).Peers, "No peers.", peerTable, filter.peer, nil,
	}, wanted)
}

func peerTable(peers []api.Peer, now time.Time) *table {
	t := newTable("INTERFACE", "NBMA", "STATE", "SINCE", "IDENTITY", "INITIATED+", "NAT+", "IN+",
		"OUT+", "WANTED FOR+", "ADMITTED+", "PROBLEM")
	for _, p := range peers {
		t.row(p.Interface, place{p.NBMA, p.Mark}, p.State, moment{p.Since, now}, p.Identity,
			initiated(p.State == api.PeerSecured && p.Identity != "", p.Initiator),
			nat(p.LocalNAT, p.RemoteNAT), moment{p.In, now}, moment{p.Out, now},
			strings.Join(p.Interest, ", "), yes(p.Admitted),
			cmp.Or(p.Prohibited, p.Error, sharers(p)))
	}
	return t
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

// nat shows which of the two routers are behind NAT.
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

func showBindings(in *invocation, wanted string) error {
	return show(in, view[api.Binding]{
		(*api.Client).Bindings, "No bindings.", bindingTable, filter.binding, nil,
	}, wanted)
}

func bindingTable(bindings []api.Binding, now time.Time) *table {
	t := newTable("INTERFACE", "PROTOCOL", "NBMA", "CLIENT SAYS+", "SECURED+", "IDENTITY", "KIND+",
		"UNIQUE+", "MTU+", "PREFIXES", "REGISTERED+", "EXPIRES")
	for _, b := range bindings {
		kind, mtu := "registered", any("")
		if b.Static {
			kind = "static"
		}
		if b.MTU > 0 {
			mtu = b.MTU
		}
		t.row(b.Interface, b.Protocol, place{b.NBMA, b.Mark}, b.ClientNBMA, yes(b.Secured),
			b.Identity, kind, yes(b.Unique), mtu, prefixes(b.Prefixes), moment{b.Registered, now},
			moment{b.Expires, now})
	}
	return t
}

// prefixes formats a list for one cell.
func prefixes(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	return strings.Join(texts, " ")
}

func showShortcuts(in *invocation, wanted string) error {
	return show(in, view[api.Shortcut]{
		(*api.Client).Shortcuts, "No shortcuts.", shortcutTable, filter.shortcut, nil,
	}, wanted)
}

func shortcutTable(shortcuts []api.Shortcut, now time.Time) *table {
	t := newTable("INTERFACE", "PREFIX", "STATE", "SINCE+", "NEXT HOP", "NBMA", "IDENTITY+", "USED",
		"EXPIRES+")
	for _, s := range shortcuts {
		t.row(s.Interface, s.Prefix, s.State, moment{s.Since, now}, s.NextHop,
			place{s.NBMA, s.Mark}, s.Identity, moment{s.Used, now}, moment{s.Expires, now})
	}
	return t
}

func showNHS(in *invocation, _ string) error {
	return show(in, view[api.NHS]{get: (*api.Client).NHS, none: "No NHS is configured: this router registers with nobody.", tabulate: nhsTable}, "")
}

func nhsTable(servers []api.NHS, now time.Time) *table {
	t := newTable("INTERFACE", "NHS", "PROTOCOL", "NBMA+", "STATE", "REGISTERED+", "EXPIRES",
		"NEXT REQUEST+", "UNANSWERED+", "PREFIXES+", "PROBLEM")
	for _, n := range servers {
		unanswered := ""
		if n.Attempts > 0 {
			unanswered = fmt.Sprint(n.Attempts)
		}
		t.row(n.Interface, n.Name, n.Protocol, n.NBMA, n.State, moment{n.Registered, now},
			moment{n.Expires, now}, moment{n.Next, now}, unanswered, prefixes(n.Announced), n.Error)
	}
	return t
}

func showRoutes(in *invocation, _ string) error {
	return show(in, view[api.Route]{
		get: (*api.Client).Routes, none: "No routes.", tabulate: routeTable,
	}, "")
}

func routeTable(routes []api.Route, _ time.Time) *table {
	t := newTable("INTERFACE", "PREFIX", "NEXT HOP", "TABLE+", "METRIC+", "INSTALLED", "PROBLEM")
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
	return show(in, view[api.SA]{
		get: (*api.Client).SAs, none: "No SAs.", tabulate: saTable, note: oldSAs,
	}, "")
}

// oldSAs returns a note that charon does not answer, so that the state of its SAs now is unknown.
// It returns "" if charon answers.
func oldSAs(sas []api.SA, now time.Time) string {
	if len(sas) == 0 || sas[0].AsOf.IsZero() {
		return ""
	}
	return fmt.Sprintf("strongSwan does not answer for %s: this list is as old, and SAs in it may have ended. The byte counts are the kernel's.",
		health.Span(now.Sub(sas[0].AsOf)))
}

// saTable has a row for each CHILD_SA, and a row for each IKE_SA without any.
func saTable(sas []api.SA, now time.Time) *table {
	t := newTable("INTERFACE+", "REMOTE", "IDENTITY", "IKE", "ID+", "UP SINCE+", "INITIATED+",
		"NAT+", "CHILD", "MODE+", "SPI IN+", "SPI OUT+",
		"IN+", "OUT+", "TOTAL IN", "TOTAL OUT", "ESP+", "REKEY+")
	for _, s := range sas {
		ike := []any{
			s.Interface, s.Remote, s.RemoteIdentity, s.State, s.ID, moment{s.Established, now},
			initiated(true, s.Initiator), nat(s.LocalNAT, s.RemoteNAT),
		}
		if len(s.Children) == 0 {
			t.row(append(ike, "", "", "", "", "", "", "", "", "", "")...)
		}
		for _, c := range s.Children {
			t.row(append(ike[:len(ike):len(ike)], c.State, c.Mode, c.SPIIn, c.SPIOut,
				size(c.BytesIn), size(c.BytesOut), size(c.TotalIn), size(c.TotalOut),
				c.Proposal, moment{c.Rekey, now})...)
		}
	}
	return t
}
