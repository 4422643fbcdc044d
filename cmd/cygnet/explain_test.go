package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/explain"
)

// alone is what the kernel and charon show while the daemon does not run: a route of the daemon's
// with its neighbour and ESP states.
var alone = evidence{
	kernel: explain.Kernel{
		Way: func(dest netip.Addr, _ string) (explain.Way, error) {
			switch {
			case dest == addr("172.16.9.9"):
				return explain.Way{Route: api.ExplainedRoute{
					Error: "no route to 172.16.9.9: the kernel says: network is unreachable"}}, nil
			case dest.Is6():
				return explain.Way{}, errors.New("ask the kernel: operation not permitted")
			}
			return explain.Way{Route: ourRoute(), GRE: true, Up: true, Local: addr("192.168.1.2")},
				nil
		},
		VRFs: func() ([]string, error) { return nil, nil },
		Neighbor: func(string, netip.Addr) (rtnl.NeighborEntry, bool, error) {
			return rtnl.NeighborEntry{
				Neighbor: rtnl.Neighbor{NBMA: addr("203.0.113.12")}, Ours: true}, true, nil
		},
		States: func(local netip.Addr) ([]xfrm.ESPState, error) {
			return []xfrm.ESPState{
				{Src: local, Dst: addr("203.0.113.12"), SPI: 0xc89abcde, Bytes: 5 << 20,
					Packets: 4000, Added: ago(time.Minute)},
				{Src: local, Dst: addr("198.51.100.1"), SPI: 0xc0000001, Bytes: 1},
			}, nil
		},
	},
	charon: func(socket string) explain.Charon {
		return func(context.Context) ([]api.SA, error) {
			return nil, errors.New("connect to charon: dial unix " + socket + ": no such file")
		}
	},
	paths: outside,
}

// ourRoute returns the route of a shortcut.
func ourRoute() api.ExplainedRoute {
	return api.ExplainedRoute{Prefix: subnet("172.16.2.0/24"), NextHop: addr("10.255.0.12"),
		Device: "gre1", Table: 254, Protocol: 84, Maker: "by cygnetd", Ours: true, Kind: "unicast"}
}

// hubRoute returns the route to the hub.
func hubRoute() api.ExplainedRoute {
	return api.ExplainedRoute{Prefix: subnet("172.16.0.0/16"), NextHop: addr("10.255.0.1"),
		Device: "gre1", Table: 254, Metric: 20, Protocol: 11, Maker: "by FRR's zebra",
		Kind: "unicast"}
}

// byHub returns the account of a spoke whose packets go by the hub for a reason.
func byHub(reason api.VerdictReason, detail string, q *api.ExplainedQuestion) *api.Explanation {
	route := hubRoute()
	x := &api.Explanation{
		Destination: addr("172.16.2.10"), Now: now, Daemon: true,
		Verdict: api.ExplainedVerdict{Path: api.PathHub, Reason: reason, Detail: detail},
		Steps: []api.ExplainStep{
			{Kind: api.StepRoute, Route: &route},
			{Kind: api.StepTunnel, Tunnel: &api.ExplainedTunnel{Interface: "gre1", Ours: true,
				GRE: true, Up: true, Protected: true, Shortcut: true, NBMA: addr("192.168.1.2"),
				Public: addr("203.0.113.11")}},
			{Kind: api.StepNextHop, Of: api.RoleWay, NextHop: &api.ExplainedNextHop{
				Protocol: addr("10.255.0.1"), NBMA: addr("198.51.100.1"), NHS: true, Known: "nhs",
				Identity: "hub.example.net", LocalNAT: true, Neighbor: addr("198.51.100.1"),
				Ours: true, In: ago(2 * time.Second), Out: ago(time.Second)}},
			{Kind: api.StepSA, Of: api.RoleWay, SA: hubSA()},
			{Kind: api.StepAdmission, Of: api.RoleWay, Admission: &api.ExplainedAdmission{
				Mode: api.AdmissionSources, Admitted: true, NHS: true, Interest: []string{"nhs"}}},
		},
	}
	if q != nil {
		q.Own = true
		x.Steps = append(x.Steps, api.ExplainStep{Kind: api.StepQuestion, Question: q})
	}
	return x
}

func hubSA() *api.ExplainedSA {
	return &api.ExplainedSA{NBMA: addr("198.51.100.1"), State: api.PeerSecured,
		Since: ago(3 * time.Hour), Required: true, Charon: spoke().SAs[:1],
		Kernel: []api.ESPState{
			{
				SPI:     "c89abcde",
				Out:     true,
				Bytes:   12 << 20,
				Packets: 9000,
				Added:   ago(10 * time.Minute),
			},
			{SPI: "c1234567", Bytes: 1536, Packets: 12, Added: ago(10 * time.Minute)},
		}}
}

// asked returns a question that went to the hub.
func asked() *api.ExplainedQuestion {
	return &api.ExplainedQuestion{Indicated: ago(90 * time.Second), Indicator: addr("10.255.0.1"),
		Asked: ago(89 * time.Second), Sent: 1, Via: addr("10.255.0.1"), At: addr("198.51.100.1")}
}

// answered returns a question that the router of the destination answered.
func answered() *api.ExplainedQuestion {
	q := asked()
	q.Answered, q.Answerer = ago(88*time.Second), addr("10.255.0.12")
	q.Prefix, q.NextHop, q.NBMA =
		subnet("172.16.2.0/24"), addr("10.255.0.12"), addr("203.0.113.12")
	return q
}

// ended returns a question with an outcome.
func ended(q *api.ExplainedQuestion, outcome, reason string) *api.ExplainedQuestion {
	q.Outcome, q.Reason, q.Ended, q.Until = outcome, reason, ago(4*time.Second), in(6*time.Second)
	return q
}

// to returns the steps about the router of a direct path.
func to(identity api.ExplainedRule, path *api.Path) []api.ExplainStep {
	identity.Identity = "spoke2.example.net"
	return []api.ExplainStep{
		{Kind: api.StepNextHop, Of: api.RoleDirect, NextHop: &api.ExplainedNextHop{
			Protocol: addr("10.255.0.12"), NBMA: addr("203.0.113.12"), Path: path,
			Identity: identity.Identity, RemoteNAT: true}},
		{Kind: api.StepAdmission, Of: api.RoleDirect, Admission: &api.ExplainedAdmission{
			Mode: api.AdmissionPeers, Interest: []string{}}},
		{Kind: api.StepPolicy, Of: api.RoleDirect, Policy: &api.ExplainedPolicy{
			Protocol: addr("10.255.0.12"), Identities: []api.ExplainedRule{identity}}},
	}
}

// with adds steps to an account, and a time until which its reason holds.
func with(x *api.Explanation, steps ...api.ExplainStep) *api.Explanation {
	x.Steps = append(x.Steps, steps...)
	return x
}

func heldFor(x *api.Explanation, d time.Duration) *api.Explanation {
	x.Verdict.Until = in(d)
	return x
}

// ofPair returns the account of a hub for packets from one spoke to another.
func ofPair(reason api.VerdictReason, detail string, q *api.ExplainedQuestion) *api.Explanation {
	x := byHub(reason, detail, nil)
	x.Source = addr("172.16.1.10")
	x.Steps[0].Route = &api.ExplainedRoute{Prefix: subnet("172.16.2.0/24"),
		NextHop: addr("10.255.0.12"), Device: "gre1", Table: 254, Protocol: 84,
		Maker: "by cygnetd", Ours: true, Kind: "unicast"}
	x.Steps[1].Tunnel = &api.ExplainedTunnel{Interface: "gre1", Ours: true, GRE: true, Up: true,
		Protected: true, Redirect: reason != api.ReasonRedirectOff, NBMA: addr("198.51.100.1")}
	spoke := func(of api.RouterRole, n string) api.ExplainStep {
		return api.ExplainStep{Kind: api.StepNextHop, Of: of, NextHop: &api.ExplainedNextHop{
			Protocol: addr("10.255.0.1" + n), NBMA: addr("203.0.113.1" + n), Known: "binding",
			Identity: "spoke" + n + ".example.net", Neighbor: addr("203.0.113.1" + n), Ours: true}}
	}
	x.Steps = append(x.Steps[:2:2], spoke(api.RoleSource, "1"), spoke(api.RoleWay, "2"),
		api.ExplainStep{Kind: api.StepBinding, Of: api.RoleWay, Binding: &api.Binding{
			Protocol: addr("10.255.0.12"), NBMA: addr("203.0.113.12"),
			Identity: "spoke2.example.net", Prefixes: []netip.Prefix{subnet("172.16.2.0/24")},
			Registered: ago(time.Minute), Expires: in(9 * time.Minute)}})
	if q != nil {
		q.Own = false
		x.Steps = append(x.Steps, api.ExplainStep{Kind: api.StepQuestion, Question: q})
	}
	return x
}

// accounts has an account for each reason.
func accounts() map[string]*api.Explanation {
	may := api.ExplainedRule{Rules: true, Rule: "spoke*.example.net",
		Source: "/etc/cygnet/cygnet.toml:31", Address: true, Shortcut: true}
	mayNot, blocked := may, may
	mayNot.Shortcut = false
	blocked.Blocked, blocked.Since, blocked.Until = true, ago(time.Minute), in(time.Hour)
	failed := &api.Path{State: api.PathFailed, Since: ago(5 * time.Second), Failures: 2,
		Retry: in(15 * time.Second), Reason: "no probe came back within 3s"}
	refused := answered()
	refused.Prefix, refused.NextHop, refused.NBMA = netip.Prefix{}, netip.Addr{}, netip.Addr{}
	refused.Code, refused.CodeText = 4, "administratively prohibited"
	repeated := asked()
	repeated.Sent = 6
	passed, no := *asked(), *refused
	passed.Indicator, no.Indicator = netip.Addr{}, netip.Addr{}
	passed.Via, passed.At, no.Via, no.At = addr("10.255.0.12"), addr("203.0.113.12"),
		addr("10.255.0.12"), addr("203.0.113.12")
	told := &api.ExplainedQuestion{Indicated: ago(2 * time.Second)}
	ignored := &api.ExplainedQuestion{Indicated: ago(2 * time.Second),
		Indicator: addr("10.255.0.2"), Ignored: "there are as many shortcuts as limits.shortcuts allows"}

	direct := byHub("", "", ended(answered(), "up", ""))
	direct.Verdict.Path = api.PathDirect
	route := ourRoute()
	route.MTU = 1300
	direct.Steps[0].Route = &route
	direct = with(direct, api.ExplainStep{Kind: api.StepShortcut, Shortcut: &api.Shortcut{
		Prefix: subnet("172.16.2.0/24"), NextHop: addr("10.255.0.12"), NBMA: addr("203.0.113.12"),
		State: api.ShortcutUp, Since: ago(time.Minute), Used: ago(time.Second),
		Expires: in(9 * time.Minute), Installed: "whole"}})
	direct = with(
		direct,
		to(may, &api.Path{State: api.PathSmall, Since: ago(time.Minute), MTU: 1300})...)
	oneWay := with(byHub("", "", ended(answered(), "up", "")), to(may, nil)...)
	oneWay.Verdict.Path = api.PathDirect
	for n := range oneWay.Steps {
		if h := oneWay.Steps[n].NextHop; h != nil && oneWay.Steps[n].Of == api.RoleDirect {
			h.In, h.Out = ago(time.Minute), ago(time.Second)
		}
	}
	routed := byHub("", "", nil)
	routed.Verdict.Path = api.PathRouted
	elsewhere := byHub("", "", nil)
	elsewhere.Verdict.Path = api.PathElsewhere
	elsewhere.Steps = []api.ExplainStep{{Kind: api.StepRoute, Route: &api.ExplainedRoute{
		Prefix: subnet("0.0.0.0/0"), NextHop: addr("192.168.1.1"), Device: "eth0", Table: 254,
		Protocol: 16, Maker: "by DHCP", Kind: "unicast"}}}
	none := func(reason api.VerdictReason) *api.Explanation {
		x := byHub(reason, "", nil)
		x.Verdict.Path = api.PathNone
		return x
	}
	noRoute := none(api.ReasonNoRoute)
	noRoute.Steps = []api.ExplainStep{{Kind: api.StepRoute, Route: &api.ExplainedRoute{
		Error: "no route to 172.16.2.10: the kernel says: network is unreachable"}}}
	off := byHub(api.ReasonOff, "", nil)
	off.Steps[1].Tunnel.Shortcut = false
	noSA := "no answer to IKE for 30 s"
	return map[string]*api.Explanation{
		"direct": direct, "one-way": oneWay, "routed": routed, "elsewhere": elsewhere,
		"no-route": noRoute,
		"left":     none(api.ReasonLeft), "no-binding": none(api.ReasonNoBinding),
		"shortcuts-off": off,
		"no-indication": byHub(api.ReasonNoIndication, "", nil),
		"ignored":       byHub(api.ReasonIgnored, ignored.Ignored, ignored),
		"asking":        byHub(api.ReasonAsking, "", asked()),
		"securing":      byHub(api.ReasonSecuring, "", answered()),
		"proving":       byHub(api.ReasonProving, "", answered()),
		"unanswered": heldFor(byHub(
			api.ReasonUnanswered,
			"",
			ended(
				repeated,
				"unanswered",
				"nobody answered the resolution request",
			),
		), 6*time.Second),
		"refused": heldFor(
			byHub(api.ReasonRefused, "", ended(refused, "refused", "")),
			6*time.Second,
		),
		"no-version": byHub(
			api.ReasonNoVersion,
			"the router there has no NBMA address of the IP version of ours, 203.0.113.11",
			asked(),
		),
		"error":      byHub(api.ReasonError, "it reports: hop count exceeded", asked()),
		"not-usable": byHub(api.ReasonInadmissible, "its holding time is too short", answered()),
		"shared": byHub(
			api.ReasonShared,
			"several routers share its NBMA address",
			answered(),
		),
		"rule": with(
			byHub(
				api.ReasonProhibited,
				`rule "spoke*.example.net" (/etc/cygnet/cygnet.toml:31) allows spoke2.example.net no shortcut`,
				answered(),
			),
			to(mayNot, nil)...),
		"blocked":  with(byHub(api.ReasonBlocked, "", answered()), to(blocked, nil)...),
		"no-sa":    byHub(api.ReasonNoSA, noSA, ended(answered(), "no SA", noSA)),
		"both-nat": byHub(api.ReasonNAT, noSA, ended(answered(), "no SA", noSA)),
		"cool-down": heldFor(
			with(byHub(api.ReasonCoolDown, failed.Reason, answered()), to(may, failed)...),
			15*time.Second,
		),
		"ended": byHub(
			api.ReasonEnded,
			"not used for 5m",
			ended(answered(), "ended", "not used for 5m"),
		),
		"pair-off":    ofPair(api.ReasonRedirectOff, "", nil),
		"pair-nat":    ofPair(api.ReasonSameNAT, "", nil),
		"pair-router": ofPair(api.ReasonSameRouter, "", nil),
		"pair-none":   ofPair(api.ReasonNoPacket, "", nil),
		"pair-told":   ofPair(api.ReasonIndicated, "", told),
		"pair-passed": ofPair(api.ReasonPassedOn, "", &passed),
		"pair-no":     ofPair(api.ReasonRefused, "", &no),
	}
}

// explain says in plain English which way packets go and why, with the evidence of each step.
func TestExplain(t *testing.T) {
	for name, x := range accounts() {
		t.Run(name, func(t *testing.T) {
			socket := start(t, &daemon{explanation: x})
			words := []string{"explain", x.Destination.String()}
			if x.Source.IsValid() {
				words = append(words, "from", x.Source.String())
			}
			code, out, errs := cygnet(append(words, "--socket", socket)...)
			if code != exitOK || errs != "" {
				t.Errorf("code %d, %s", code, errs)
			}
			golden(t, "testdata/explain-"+name+".txt", out)
			_, out, _ = cygnet(append(words, "--json", "--socket", socket)...)
			var got api.Explanation
			if err := json.Unmarshal([]byte(out), &got); err != nil || got.Verdict != x.Verdict {
				t.Errorf("%v, in JSON the verdict is %+v, want %+v", err, got.Verdict, x.Verdict)
			}
		})
	}
}

// Every reason that the API has is in a golden file.
func TestExplainEveryReason(t *testing.T) {
	have := map[api.VerdictReason]bool{}
	for _, x := range accounts() {
		have[x.Verdict.Reason] = true
	}
	for _, reason := range api.VerdictReasons {
		if !have[reason] {
			t.Errorf("no golden file is about the reason %q", reason)
		}
	}
}

// While the daemon does not run, explain shows what the kernel and charon have.
func TestExplainWithoutDaemon(t *testing.T) {
	none := t.TempDir() + "/none"
	for name, dest := range map[string]string{
		"alone": "172.16.2.10", "alone-no-route": "172.16.9.9",
	} {
		code, out, errs := cygnet("explain", dest, "--socket", none, "--config", none)
		if code != exitOK || errs != "" {
			t.Errorf("%s: code %d, %s", dest, code, errs)
		}
		golden(t, "testdata/explain-"+name+".txt", out)
	}
	code, _, errs := cygnet("explain", "fd00::1", "--socket", none)
	if code != exitError ||
		!strings.Contains(errs, "explain fd00::1: ask the kernel: operation not permitted") {
		t.Errorf("code %d, %s", code, errs)
	}
}

// Without the daemon, explain asks charon at the socket that the configuration names, in its file
// or in one of conf.d, also where another part of the configuration is wrong.
func TestExplainAsksTheConfiguredCharon(t *testing.T) {
	const here = "[daemon]\nvici_socket = \"/run/here\"\n"
	none := t.TempDir() + "/none"
	for name, texts := range map[string][2]string{
		"the file":          {here, ""},
		"a file of conf.d":  {"", here},
		"a faulty key":      {here + "odd = 1\n", ""},
		"a fault elsewhere": {"[log]\nodd = 1\n", here},
	} {
		t.Run(name, func(t *testing.T) {
			file := t.TempDir() + "/cygnet.toml"
			further := filepath.Dir(file) + "/conf.d"
			if err := errors.Join(os.WriteFile(file, []byte(texts[0]), 0o600),
				os.Mkdir(further, 0o700),
				os.WriteFile(further+"/more.toml", []byte(texts[1]), 0o600)); err != nil {
				t.Fatal(err)
			}
			_, out, errs := cygnet("explain", "172.16.2.10", "--socket", none, "--config", file)
			if want := "charon: connect to charon: dial unix /run/here:"; errs != "" ||
				!strings.Contains(out, want) {
				t.Errorf("it says %q and\n%s\nwant %q", errs, out, want)
			}
		})
	}
}

// explain refuses what is no address.
func TestExplainArguments(t *testing.T) {
	for args, says := range map[string]string{
		"explain":                          "explain takes DESTINATION",
		"explain spoke2":                   `found "spoke2", which is not an address`,
		"explain 10.0.0.1 of 10.0.0.2":     "explain takes DESTINATION",
		"explain 10.0.0.1 from fd00::1":    "not of the same family",
		"explain 10.0.0.1 from 10.0.0.0/8": "which is not an address",
	} {
		code, _, errs := cygnet(strings.Fields(args)...)
		if code != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("%s: code %d, says %s, want %q", args, code, errs, says)
		}
	}
}
