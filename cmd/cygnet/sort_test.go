package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
)

// crowd returns the status of a router with unsorted peers, bindings and shortcuts.
func crowd() *api.Status {
	s := spoke()
	i := &s.Interfaces[0]
	i.Peers, i.Bindings, i.Shortcuts = nil, nil, nil
	for n, last := range []byte{100, 9, 20} {
		nbma := addr(fmt.Sprintf("203.0.113.%d", last))
		identity := fmt.Sprintf("Spoke%d.example.net", last)
		i.Peers = append(i.Peers, api.Peer{
			Protocols: []netip.Addr{addr(fmt.Sprintf("10.255.0.%d", last))},
			NBMA:      nbma, Identity: identity, State: api.PeerSecured,
			Since: ago(time.Duration(n) * time.Hour),
		})
		i.Bindings = append(i.Bindings, api.Binding{
			Protocol: addr(fmt.Sprintf("10.255.0.%d", last)), NBMA: nbma, Identity: identity,
			MTU: uint16(last),
		})
		i.Shortcuts = append(i.Shortcuts,
			api.Shortcut{Prefix: subnet(fmt.Sprintf("172.16.%d.0/24", last)), NBMA: nbma,
				Identity: identity,
				NextHop:  addr(fmt.Sprintf("10.255.0.%d", last)), State: api.ShortcutUp})
	}
	// a peer of which nothing else is known
	i.Peers = append(i.Peers, api.Peer{NBMA: addr("203.0.113.50"), State: api.PeerSecuring})
	return s
}

// Lists take a filter by identity, address or prefix. They are sorted by the meaning of a column,
// in JSON as well.
func TestFilterAndSort(t *testing.T) {
	socket := start(t, &daemon{status: crowd()})
	for args, want := range map[string]string{
		"peers":                         "100 9 20 50",
		"peers --sort nbma":             "9 20 50 100",
		"peers --sort -nbma":            "100 50 20 9",
		"peers --sort since":            "20 9 100 50", // a peer without a value comes last
		"peers --sort -since":           "100 9 20 50",
		"peers --sort IDENTITY":         "100 20 9 50",
		"peers 203.0.113.20":            "20",
		"peers 203.0.113.0/27":          "9 20",
		"peers spoke":                   "100 9 20",
		"peers SPOKE9.":                 "9",
		"peers nobody":                  "",
		"peers 10.255.0.9":              "9",
		"peers 10.255.0.0/27":           "9 20",
		"peers --sort protocol":         "9 20 100 50",
		"bindings --sort protocol":      "9 20 100",
		"bindings --sort -mtu":          "100 20 9",
		"bindings 10.255.0.9":           "9",
		"bindings 10.255.0.0/28":        "9",
		"bindings spoke20":              "20",
		"shortcuts --sort prefix":       "9 20 100",
		"shortcuts --sort next-hop":     "9 20 100",
		"shortcuts 172.16.9.77":         "9",
		"shortcuts 172.16.8.0/21":       "9",
		"shortcuts 10.255.0.100":        "100",
		"shortcuts spoke9 --sort state": "9",
	} {
		code, out, errs := cygnet(append(strings.Fields(args), "--socket", socket, "--json")...)
		var entries []struct {
			NBMA string `json:"nbma"`
		}
		if err := json.Unmarshal([]byte(out), &entries); err != nil || code != exitOK {
			t.Fatalf("%s: %d %v %s", args, code, err, errs)
		}
		var got []string
		for _, e := range entries {
			got = append(got, strings.TrimPrefix(e.NBMA, "203.0.113."))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
		_, table, _ := cygnet(append(strings.Fields(args), "--socket", socket)...)
		at := 0
		for _, n := range got {
			i := strings.Index(table[at:], "203.0.113."+n)
			if i < 0 {
				t.Errorf("%s: the table is in another order than the list:\n%s", args, table)
				break
			}
			at += i
		}
	}
	if _, out, _ := cygnet(
		"peers", "nobody", "--socket", socket,
	); out != "None of 4 fits nobody.\n" {
		t.Errorf("got %q", out)
	}
}

// In a table that is too wide, the widest columns are cut and marked. With --wide nothing is cut.
func TestTablesAreCut(t *testing.T) {
	long := "C=CH, O=An organisation with quite a long name, CN=spoke1.example.net"
	table := func(wide bool) string {
		x := newTable("NBMA", "IDENTITY", "STATE")
		x.row(addr("203.0.113.1"), long, "secured")
		var b strings.Builder
		if err := x.write(&b, wide); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if out := table(true); !strings.Contains(out, long) {
		t.Errorf("wide: %s", out)
	}
	lines := strings.Split(table(false), "\n")
	if got := []rune(lines[1]); len(got) != narrowWidth ||
		!strings.Contains(lines[1], "…  secured") || !strings.HasPrefix(lines[1], "203.0.113.1  C=CH, O=An") {
		t.Errorf("narrow, of %d columns: %s", len(got), lines[1])
	}
}
