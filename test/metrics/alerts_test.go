package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cygnet/vici/failure"
)

// rules has the alerts that the tests are about.
const rules = "../../contrib/prometheus/cygnet.rules.yml"

// alertCase says with which series an alert fires an hour after the start, and with which it does
// not. Each is a series and its values, one a minute, in promtool's notation.
type alertCase struct {
	name         string
	fires, quiet []string
}

// up and at are labels of all series of a router, and those of one interface.
const (
	up = `job="dmvpn",instance="hub:9116"`
	at = up + `,interface="gre1"`
)

var alertCases = []alertCase{
	{"CygnetDown",
		[]string{`node_textfile_mtime_seconds{` + up + `,file="/n/cygnet.prom"} 0x70`},
		[]string{`node_textfile_mtime_seconds{` + up + `,file="/n/cygnet.prom"} 0+60x70`,
			`node_textfile_mtime_seconds{` + up + `,file="/n/other.prom"} 0x70`}},
	{"CygnetUnreachable", []string{`up{` + up + `} 0x70`}, []string{`up{` + up + `} 1x70`}},
	{"CygnetMetricsMissing", []string{`up{` + up + `} 1x70`},
		[]string{`up{` + up + `} 1x70`, `cygnet_build_info{` + up + `,version="1"} 1x70`}},
	{"CygnetMetricsUnreadable", []string{`node_textfile_scrape_error{` + up + `} 1x70`},
		[]string{`node_textfile_scrape_error{` + up + `} 0x70`}},
	{"CygnetStrongSwanGone", []string{`cygnet_strongswan_connected{` + up + `} 0x70`},
		[]string{`cygnet_strongswan_connected{` + up + `} 1x70`}},
	{"CygnetStrongSwanRestarted",
		[]string{`cygnet_strongswan_start_time_seconds{` + up + `} 100x49 3000x20`},
		[]string{`cygnet_strongswan_start_time_seconds{` + up + `} 100x49 101x20`}},
	{"CygnetIKEFailures",
		[]string{`cygnet_ike_failures_total{` + up + `,role="responder",cause="no secret"} 0+1x70`},
		[]string{`cygnet_ike_failures_total{` + up + `,role="initiator",cause="no answer"} 0+9x70`,
			`cygnet_ike_failures_total{` + up + `,role="responder",cause="no secret"} 0x55 2x15`}},
	{"CygnetInterfaceFailed", []string{`cygnet_interface_failed{` + at + `} 1x70`},
		[]string{`cygnet_interface_failed{` + at + `} 0x70`,
			`cygnet_interface_up{` + at + `} 1x70`}},
	{"CygnetInterfaceFailed", []string{`cygnet_interface_up{` + at + `} 0x70`}, nil},
	{"CygnetProblem", []string{`cygnet_problems{` + up + `,severity="error"} 2x70`},
		[]string{`cygnet_problems{` + up + `,severity="error"} 0x70`,
			`cygnet_problems{` + up + `,severity="warning"} 3x70`}},
	{"CygnetNotProtected", []string{`cygnet_interface_protected{` + at + `} 0x70`},
		[]string{`cygnet_interface_protected{` + at + `} 1x70`}},
	{"CygnetAdmissionNotEnforced",
		[]string{`cygnet_admission{` + at + `,mode="unenforced"} 1x70`},
		[]string{`cygnet_admission{` + at + `,mode="unenforced"} 0x70`,
			`cygnet_admission{` + at + `,mode="peers"} 1x70`}},
	{"CygnetDataPathFailing", []string{`cygnet_data_path_failing{` + at + `} 1x70`},
		[]string{`cygnet_data_path_failing{` + at + `} 0x70`}},
	{"CygnetMulticastFailing", []string{`cygnet_multicast_failing{` + at + `} 1x70`},
		[]string{`cygnet_multicast_failing{` + at + `} 0x70`}},
	{"CygnetPathsFailed", []string{`cygnet_paths{` + at + `,state="failed"} 1x70`},
		[]string{`cygnet_paths{` + at + `,state="failed"} 0x70`,
			`cygnet_paths{` + at + `,state="proven"} 5x70`}},
	{"CygnetPeerDevicesNearLimit", []string{`cygnet_limit_used{` + at + `,limit="links"} 950x70`,
		`cygnet_limit{` + at + `,limit="links"} 1000x70`},
		[]string{`cygnet_limit_used{` + at + `,limit="links"} 850x70`,
			`cygnet_limit{` + at + `,limit="links"} 1000x70`}},
	{"CygnetClearGRE", []string{`cygnet_clear_gre_leaking{` + at + `,stopped="no"} 1x70`},
		[]string{`cygnet_clear_gre_leaking{` + at + `,stopped="no"} 0x70`}},
	{"CygnetClearGREStopped", []string{`cygnet_clear_gre_leaking{` + at + `,stopped="yes"} 1x70`},
		[]string{`cygnet_clear_gre_leaking{` + at + `,stopped="yes"} 0x70`,
			`cygnet_clear_gre_stopped_total{` + at + `,direction="in"} 0+5x70`}},
	{"CygnetClearGREStopped",
		[]string{`cygnet_clear_gre_stopped_total{` + at + `,direction="out"} 0+5x70`}, nil},
	{"CygnetClearGREPossible", []string{`cygnet_clear_gre_causes{` + at + `} 1x70`},
		[]string{`cygnet_clear_gre_causes{` + at + `} 0x70`,
			`cygnet_clear_gre_unfiltered_devices{` + at + `} 0x70`}},
	{"CygnetClearGREPossible",
		[]string{`cygnet_clear_gre_unfiltered_devices{` + at + `} 1x70`}, nil},
	{"CygnetNotRegistered", []string{`cygnet_nhs_registered{` + at + `,nhs="hub"} 0x70`},
		[]string{`cygnet_nhs_registered{` + at + `,nhs="hub"} 1x70`}},
	{"CygnetNoServerInUse", []string{`cygnet_nhs_in_use{` + at + `,nhs="hub1"} 0x70`,
		`cygnet_nhs_in_use{` + at + `,nhs="hub2"} 0x70`},
		[]string{`cygnet_nhs_in_use{` + at + `,nhs="hub1"} 0x70`,
			`cygnet_nhs_in_use{` + at + `,nhs="hub2"} 1x70`}},
	{"CygnetRegistrationsRefused",
		[]string{`cygnet_registrations_total{` + up + `,role="server",result="no"} 0+1x70`},
		[]string{`cygnet_registrations_total{` + up + `,role="server",result="success"} 0+9x70`,
			`cygnet_registrations_total{` + up + `,role="client",result="no"} 0+9x70`}},
	{"CygnetRoundTripLong", []string{`cygnet_nhs_round_trip_seconds{` + at + `,nhs="hub"} 1.5x70`},
		[]string{`cygnet_nhs_round_trip_seconds{` + at + `,nhs="hub"} 0.04x70`}},
	{"CygnetLimitNearlyReached", []string{`cygnet_limit_used{` + at + `,limit="bindings"} 95x70`,
		`cygnet_limit{` + at + `,limit="bindings"} 100x70`},
		[]string{`cygnet_limit_used{` + at + `,limit="bindings"} 85x70`,
			`cygnet_limit{` + at + `,limit="bindings"} 100x70`,
			`cygnet_limit_used{` + at + `,limit="links"} 99x70`,
			`cygnet_limit{` + at + `,limit="links"} 100x70`}},
	{"CygnetLoopSlow", []string{`cygnet_turn_seconds_bucket{` + up + `,le="0.3"} 0+90x70`,
		`cygnet_turn_seconds_bucket{` + up + `,le="1"} 0+100x70`,
		`cygnet_turn_seconds_bucket{` + up + `,le="+Inf"} 0+100x70`},
		[]string{`cygnet_turn_seconds_bucket{` + up + `,le="0.3"} 0+999x70`,
			`cygnet_turn_seconds_bucket{` + up + `,le="+Inf"} 0+1000x70`}},
	{"CygnetPeersNotSecured", []string{`cygnet_peers{` + at + `,state="securing"} 20x70`,
		`cygnet_peers{` + at + `,state="secured"} 100x70`},
		[]string{`cygnet_peers{` + at + `,state="securing"} 5x70`,
			`cygnet_peers{` + at + `,state="secured"} 100x70`}},
	{"CygnetRoutesMissing", []string{`cygnet_routes_missing{` + up + `} 1x70`},
		[]string{`cygnet_routes_missing{` + up + `} 0x70`}},
	{"CygnetKernelRefuses", []string{`cygnet_kernel_entries_failing{` + up + `} 1x70`},
		[]string{`cygnet_kernel_entries_failing{` + up + `} 0x70`}},
	{"CygnetDropsPackets",
		[]string{`cygnet_packets_dropped_total{` + up + `,kind="data",reason="x"} 0+120x70`},
		[]string{`cygnet_packets_dropped_total{` + up + `,kind="data",reason="x"} 0+30x70`}},
	{"CygnetHostLimitsDaemon", []string{`cygnet_advice{` + up + `} 1x70`},
		[]string{`cygnet_advice{` + up + `} 0x70`}},
	{"CygnetAuthorizerSilent", []string{`cygnet_authorizer_answers{` + at + `} 0x70`},
		[]string{`cygnet_authorizer_answers{` + at + `} 1x70`}},
	{"CygnetAuthorizerMalformed",
		[]string{`cygnet_authorizer_malformed_total{` + at + `} 0x55 2x15`},
		[]string{`cygnet_authorizer_malformed_total{` + at + `} 2x70`}},
	{"CygnetEventReadersDropped",
		[]string{`cygnet_event_readers_dropped_total{` + up + `,reason="too slow"} 0x55 2x15`},
		[]string{`cygnet_event_readers_dropped_total{` + up + `,reason="too slow"} 2x70`}},
}

// group is a test of promtool's: series, and what is to be so an hour after their start. Each case
// has an instance of its own, since every group costs a database.
type group struct {
	series []map[string]string
	checks []map[string]any
}

// add adds series of a new instance, and whether an alert is to fire for it, with those labels.
func (g *group) add(name string, series []string, fires bool, labels ...string) {
	instance := fmt.Sprintf("case%d", len(g.checks))
	for _, s := range series {
		at := strings.LastIndex(s, "}") + 1
		g.series = append(g.series, map[string]string{
			"series": strings.Replace(s[:at], "hub:9116", instance, 1),
			"values": strings.TrimSpace(s[at:]),
		})
	}
	samples := []map[string]any{}
	if fires {
		samples = append(samples, map[string]any{"labels": "{}", "value": 1})
	}
	has := ""
	for _, l := range labels {
		has += "," + l + `!=""`
	}
	g.checks = append(g.checks, map[string]any{
		"expr": fmt.Sprintf(`count(ALERTS{alertname=%q,alertstate="firing",instance=%q%s})`,
			name, instance, has),
		"eval_time": "1h", "exp_samples": samples,
	})
}

// run has promtool run a group.
func (g *group) run(t *testing.T) ([]byte, error) {
	t.Helper()
	path, err := filepath.Abs(rules)
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(map[string]any{
		"rule_files": []string{path}, "evaluation_interval": "1m",
		"tests": []map[string]any{{
			"interval": "1m", "input_series": g.series, "promql_expr_test": g.checks,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(t.TempDir(), "tests.yml") // JSON is YAML, too
	if err := os.WriteFile(at, file, 0o644); err != nil {
		t.Fatal(err)
	}
	return exec.Command("promtool", "test", "rules", at).CombinedOutput()
}

// labelsOf returns the labels that the texts of an alert name.
func labelsOf(rules, name string) []string {
	_, rest, _ := strings.Cut(rules, "- alert: "+name+"\n")
	texts, _, _ := strings.Cut(rest, "- alert: ")
	var names []string
	for _, m := range regexp.MustCompile(`\$labels\.([a-z_]+)`).FindAllStringSubmatch(texts, -1) {
		names = append(names, m[1])
	}
	return names
}

// promtool accepts the example of Prometheus's configuration.
func TestConfigurationOfPrometheus(t *testing.T) {
	text, err := os.ReadFile("../../contrib/prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Abs(rules)
	if err != nil {
		t.Fatal(err)
	}
	here := strings.Replace(string(text), "/etc/prometheus/cygnet.rules.yml", path, 1)
	check := func(text string) ([]byte, error) {
		at := filepath.Join(t.TempDir(), "prometheus.yml")
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return exec.Command("promtool", "check", "config", at).CombinedOutput()
	}
	if out, err := check(here); err != nil || here == string(text) {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	if out, err := check(here + "scrape_everything: true\n"); err == nil {
		t.Errorf("promtool also takes what is wrong:\n%s", out)
	}
}

// Each alert fires when it should, with the labels that its texts name, and does not otherwise.
// promtool accepts the rules.
func TestAlerts(t *testing.T) {
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "check", "rules", rules).CombinedOutput(); err != nil {
		t.Fatalf("promtool does not take the rules (test/uml/deps installs it): %v\n%s", err, out)
	}
	for _, m := range regexp.MustCompile(`(?m)- alert: (\S+)`).FindAllSubmatch(text, -1) {
		if !slices.ContainsFunc(alertCases, func(c alertCase) bool {
			return c.name == string(m[1]) && len(c.fires) > 0 && len(c.quiet) > 0
		}) {
			t.Errorf("no case says when %s fires and when it does not", m[1])
		}
	}
	var g, wrong group
	for _, c := range alertCases {
		g.add(c.name, c.fires, true, labelsOf(string(text), c.name)...)
		if c.quiet != nil {
			g.add(c.name, c.quiet, false)
		}
	}
	if out, err := g.run(t); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	wrong.add("CygnetUnreachable", []string{`up{` + up + `} 1x70`}, true)
	if out, err := wrong.run(t); err == nil {
		t.Errorf("promtool also takes what is wrong:\n%s", out)
	}
}

// doc/metrics.md names every cause under which failures of IKE are counted.
func TestCausesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../doc/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for cause := range failure.NoneYet() {
		if !strings.Contains(string(page), "`"+cause+"`") {
			t.Errorf("doc/metrics.md does not name the cause %q", cause)
		}
	}
}
