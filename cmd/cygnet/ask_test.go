package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
)

// resolve shows the question and its answer. The exit code tells whether there is a direct path.
func TestResolve(t *testing.T) {
	direct := accounts()["direct"]
	for _, step := range direct.Steps {
		if step.Question != nil {
			step.Question.ByHand = true
		}
	}
	for _, tt := range []struct {
		name string
		x    *api.Explanation
		code int
	}{{"direct", direct, exitOK}, {"refused", accounts()["refused"], exitWrong}} {
		code, out, errs := cygnet("resolve", "172.16.2.10", "--socket",
			start(t, &daemon{explanation: tt.x}))
		if code != tt.code || errs != "" {
			t.Errorf("%s: code %d, want %d, %s", tt.name, code, tt.code, errs)
		}
		golden(t, "testdata/resolve-"+tt.name+".txt", out)
	}
}

// ping shows each packet with its answer, and says what the answers prove.
func TestPing(t *testing.T) {
	result := func(protected bool, trips ...api.PingTrip) *api.PingResult {
		return &api.PingResult{Interface: "gre1", Protocol: addr("10.255.0.1"),
			NBMA: addr("198.51.100.1"), Identity: "hub.example.net", Protected: protected,
			MTU: 1400, Trips: trips}
	}
	small := api.PingTrip{Size: 64, Seconds: 0.00193}
	full := api.PingTrip{Size: 1400, Seconds: 0.0024}
	lost := func(size int) api.PingTrip { return api.PingTrip{Size: size} }
	plain := api.PingTrip{Size: 96, Plain: true, Seconds: 0.012}
	for _, tt := range []struct {
		name string
		r    *api.PingResult
		code int
	}{
		{"good", result(true, small, full), exitOK},
		{"small", result(true, lost(64), small, lost(1400)), exitOK},
		{"plain", result(false, lost(64), lost(64), plain), exitOK},
		{"none", result(true, lost(64), lost(64), api.PingTrip{Plain: true}), exitWrong},
	} {
		code, out, errs := cygnet("ping", "10.255.0.1", "--socket", start(t, &daemon{pinged: tt.r}))
		if code != tt.code || errs != "" {
			t.Errorf("%s: code %d, want %d, %s", tt.name, code, tt.code, errs)
		}
		golden(t, "testdata/ping-"+tt.name+".txt", out)
	}
}

// clear says what was ended, what that does and what it costs.
func TestClear(t *testing.T) {
	for _, tt := range []struct {
		what    string
		cleared api.Cleared
	}{
		{"shortcut", api.Cleared{Prefix: subnet("172.16.2.0/24"), Protocol: addr("10.255.0.12"),
			NBMA: addr("203.0.113.12"), Identity: "spoke2.example.net"}},
		{"peer", api.Cleared{NBMA: addr("203.0.113.12"), Identity: "spoke2.example.net"}},
		{"binding", api.Cleared{Protocol: addr("10.255.0.12"), NBMA: addr("203.0.113.12")}},
	} {
		tt.cleared.What, tt.cleared.Interface = api.Clearable(tt.what), "gre1"
		d := &daemon{cleared: []api.Cleared{tt.cleared}}
		code, out, errs := cygnet("clear", tt.what, "10.255.0.12", "--socket", start(t, d))
		if code != exitOK ||
			!slices.Equal(d.drained, []string{"clear " + tt.what + " 10.255.0.12"}) {
			t.Errorf("%s: code %d, passed %q, %s", tt.what, code, d.drained, errs)
		}
		golden(t, "testdata/clear-"+tt.what+".txt", out)
	}
	wait := &daemon{cleared: []api.Cleared{{CoolDown: true, Prefix: subnet("172.16.2.10/32")}}}
	_, out, _ := cygnet("clear", "shortcut", "172.16.2.10", "--socket", start(t, wait))
	if !strings.HasPrefix(out, "No shortcut leads to 172.16.2.10. The wait") {
		t.Errorf("says %s", out)
	}
}

// register passes the interface, and shows the state of each registration.
func TestRegister(t *testing.T) {
	server := api.NHS{Interface: "gre1", Name: "hub", Protocol: addr("10.255.0.1"),
		NBMA: addr(
			"198.51.100.1",
		), State: api.NHSRegistered, Registered: now, Expires: in(time.Hour)}
	refused := server
	refused.State, refused.Error = api.NHSRefused, "code 4"
	for _, tt := range []struct {
		args, passed string
		server       api.NHS
		code         int
		says         string
	}{
		{"register now", "register ", server, exitOK, "registered"},
		{"register now gre1", "register gre1", server, exitOK, "registered"},
		{"register now --json", "register ", refused, exitWrong, `"state": "refused"`},
	} {
		d := &daemon{servers: []api.NHS{tt.server}}
		code, out, errs := cygnet(append(strings.Fields(tt.args), "--socket", start(t, d))...)
		if code != tt.code || !slices.Equal(d.drained, []string{tt.passed}) ||
			!strings.Contains(out, tt.says) {
			t.Errorf("%s: code %d, passed %q, says %s%s", tt.args, code, d.drained, out, errs)
		}
	}
}

// The commands refuse arguments that mean nothing.
func TestAskArguments(t *testing.T) {
	for args, says := range map[string]string{
		"resolve":                   `resolve takes an address, such as 10.255.0.12, found ""`,
		"ping hub":                  "ping takes an address",
		"clear":                     "clear takes shortcut ADDRESS",
		"clear route 10.0.0.1":      "clear takes shortcut ADDRESS",
		"clear peer spoke2":         "clear peer takes an address",
		"register":                  "register takes now",
		"register later":            "register takes now",
		"register now gre1 gre2":    "register takes now",
		"clear shortcut 10.0.0.0/8": "clear shortcut takes an address",
	} {
		code, _, errs := cygnet(strings.Fields(args)...)
		if code != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("%s: code %d, says %s, want %q", args, code, errs, says)
		}
	}
}
