package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// view is how a list is requested and shown.
type view[T any] struct {
	get      func(*api.Client, context.Context) ([]T, error)
	none     string // the text for an empty list
	tabulate func([]T, time.Time) *table
	wanted   func(filter, T) bool        // nil: the command takes no filter
	note     func([]T, time.Time) string // the text before the table, if it is not empty; nil: none
	rows     func([]T) []T               // the entries that have a row of the table each; nil: all
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
	if v.rows != nil && !in.json {
		entries = v.rows(entries)
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
	if in.history {
		return showHistory(in, wanted)
	}
	return listPeers(in, wanted)
}

// listPeers writes the peers that fit a filter.
func listPeers(in *invocation, wanted string) error {
	return show(in, view[api.Peer]{
		(*api.Client).Peers, "No peers.", peerTable, filter.peer, nil, nil,
	}, wanted)
}

func peerTable(peers []api.Peer, now time.Time) *table {
	t := newTable("INTERFACE", "PROTOCOL", "NBMA", "STATE", "SINCE", "IDENTITY", "INITIATED+", "NAT+",
		"IN+", "OUT+", "WANTED FOR+", "SA SHARED BY+", "ADMITTED+", "PATH+", "FLAPS+", "PROBLEM")
	for _, p := range peers {
		t.row(p.Interface, protocols(p.Protocols), wording.At(p.NBMA, p.Mark), p.State,
			moment{p.Since, now}, p.Identity,
			initiated(p.State == api.PeerSecured && p.Identity != "", p.Initiator),
			wording.NAT(p.LocalNAT, p.RemoteNAT), moment{p.In, now}, moment{p.Out, now},
			strings.Join(p.Interest, ", "), strings.Join(p.SASharedBy, ", "), yes(p.Admitted),
			pathCell(p.Path), count(p.Flaps),
			cmp.Or(p.Prohibited, p.Error, sharers(p)))
	}
	return t
}

// count formats a number; 0 as a missing value.
func count(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// pathCell says in a word or two what is known of the direct path to a peer.
func pathCell(p *api.Path) string {
	switch {
	case p == nil:
		return ""
	case p.State == api.PathSmall:
		return fmt.Sprintf("%s, MTU %d", p.State, p.MTU)
	}
	return string(p.State)
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

func showBindings(in *invocation, wanted string) error {
	return show(in, view[api.Binding]{
		(*api.Client).Bindings, "No bindings.", bindingTable, filter.binding, nil, nil,
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
		t.row(b.Interface, b.Protocol, wording.At(b.NBMA, b.Mark), b.ClientNBMA, yes(b.Secured),
			b.Identity, kind, yes(b.Unique), mtu, wording.Prefixes(b.Prefixes, b.Reserve),
			moment{b.Registered, now}, moment{b.Expires, now})
	}
	return t
}

func showShortcuts(in *invocation, wanted string) error {
	return show(in, view[api.Shortcut]{
		(*api.Client).Shortcuts, "No shortcuts.", shortcutTable, filter.shortcut, nil, nil,
	}, wanted)
}

func shortcutTable(shortcuts []api.Shortcut, now time.Time) *table {
	t := newTable("INTERFACE", "PREFIX", "STATE", "SINCE+", "NEXT HOP", "NBMA", "IDENTITY+", "ROUTE+",
		"PATH", "MTU+", "USED", "EXPIRES+", "REASON")
	for _, s := range shortcuts {
		mtu := any("")
		if s.MTU > 0 {
			mtu = s.MTU
		}
		t.row(s.Interface, s.Prefix, s.State, moment{s.Since, now}, s.NextHop,
			wording.At(s.NBMA, s.Mark), s.Identity, s.Installed, s.Path, mtu, moment{s.Used, now},
			moment{s.Expires, now}, s.Reason)
	}
	return t
}

func showNHS(in *invocation, _ string) error {
	return show(in, view[api.NHS]{
		get:      (*api.Client).NHS,
		none:     "No NHS is configured: this router registers with nobody.",
		tabulate: nhsTable,
		rows:     registrations,
	}, "")
}

// registrations returns each server once for each registration with it.
func registrations(servers []api.NHS) []api.NHS {
	var all []api.NHS
	for i := range servers {
		all = append(all, servers[i].Each()...)
	}
	return all
}

func nhsTable(servers []api.NHS, now time.Time) *table {
	t := newTable("INTERFACE", "NHS", "PROTOCOL", "NBMA+", "STATE", "REGISTERED+", "EXPIRES",
		"USE", "PRIORITY+", "CLUSTER+", "NEXT REQUEST+", "UNANSWERED+", "PREFIXES+", "PROBLEM")
	ranked := slices.ContainsFunc(servers,
		func(n api.NHS) bool { return n.Priority != 0 || n.Cluster != 0 })
	for _, n := range servers {
		unanswered, priority, cluster := "", "", ""
		if ranked {
			priority, cluster = fmt.Sprint(n.Priority), fmt.Sprint(n.Cluster)
		}
		if n.Attempts > 0 {
			unanswered = fmt.Sprint(n.Attempts)
		}
		t.row(n.Interface, n.Name, n.Protocol, n.NBMA, n.State, moment{n.Registered, now},
			moment{n.Expires, now}, useCell(&n, now), priority, cluster, moment{n.Next, now},
			unanswered, wording.Prefixes(n.Announced, nil), n.Error)
	}
	return t
}

// useCell says in a word or two what this router does with an NHS.
func useCell(n *api.NHS, now time.Time) string {
	if n.Use == api.NHSUseReturning {
		return "falls back " + wording.When(n.Returns, now)
	}
	return string(n.Use)
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
		wording.Span(now.Sub(sas[0].AsOf)))
}

// saTable has a row for each CHILD_SA, and a row for each IKE_SA without any.
func saTable(sas []api.SA, now time.Time) *table {
	t := newTable("INTERFACE+", "REMOTE", "IDENTITY", "IKE", "ID+", "UP SINCE+", "INITIATED+",
		"NAT+", "CHILD", "MODE+", "SPI IN+", "SPI OUT+",
		"IN+", "OUT+", "TOTAL IN", "TOTAL OUT", "ESP+", "REKEY+")
	for _, s := range sas {
		ike := []any{
			strings.Join(append([]string{s.Interface}, s.SharedBy...), ", "), s.Remote,
			s.RemoteIdentity, s.State, s.ID, moment{s.Established, now},
			initiated(true, s.Initiator), wording.NAT(s.LocalNAT, s.RemoteNAT),
		}
		if len(s.Children) == 0 {
			t.row(append(ike, "", "", "", "", "", "", "", "", "", "")...)
		}
		for _, c := range s.Children {
			t.row(append(ike[:len(ike):len(ike)], c.State, c.Mode, c.SPIIn, c.SPIOut,
				wording.Size(c.BytesIn), wording.Size(c.BytesOut),
				wording.Size(c.TotalIn), wording.Size(c.TotalOut), c.Proposal,
				moment{c.Rekey, now})...)
		}
	}
	return t
}
