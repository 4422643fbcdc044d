package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const dashboard = "../../contrib/grafana/cygnet.json"

// openMetrics returns scrapes in the form in which promtool imports them, with the time of each
// sample. The node exporter's own series are added, with which it brings the metrics along.
func openMetrics(t *testing.T, scrapes []scrape) string {
	t.Helper()
	types, lines := map[string]string{}, map[string][]string{}
	add := func(family, kind, series, labels string, value float64, at time.Time) {
		name, rest, labelled := strings.Cut(series, "{")
		if labelled {
			labels += "," + strings.TrimSuffix(rest, "}")
		}
		types[family] = kind
		lines[family] = append(lines[family], fmt.Sprintf("%s{%s} %s %.3f\n", name, labels,
			strconv.FormatFloat(value, 'g', -1, 64), float64(at.UnixMilli())/1000))
	}
	for _, s := range scrapes {
		from := fmt.Sprintf("job=%q,instance=%q", "dmvpn", s.instance)
		all, kinds := samples(t, s.text)
		for _, x := range all {
			add(x.family, kinds[x.family], x.series, from, x.value, s.at)
		}
		add("up", "gauge", "up", from, 1, s.at)
		add("node_textfile_scrape_error", "gauge", "node_textfile_scrape_error", from, 0, s.at)
		add("node_textfile_mtime_seconds", "gauge",
			`node_textfile_mtime_seconds{file="/var/lib/prometheus/node-exporter/cygnet.prom"}`,
			from, float64(s.at.Unix()-3), s.at)
	}
	var b strings.Builder
	for _, family := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintf(&b, "# TYPE %s %s\n%s", strings.TrimSuffix(family, "_total"), types[family],
			strings.Join(lines[family], ""))
	}
	return b.String() + "# EOF\n"
}

// prometheus is a Prometheus that has the recording, on an address of its own.
type prometheus struct {
	t   *testing.T
	url string
	at  time.Time // of the last scrape
}

// start starts a Prometheus with the scrapes and the alerts, until the test ends.
func start(t *testing.T, scrapes []scrape) *prometheus {
	t.Helper()
	dir := t.TempDir()
	text, data := filepath.Join(dir, "recording"), filepath.Join(dir, "data")
	if err := os.WriteFile(text, []byte(openMetrics(t, scrapes)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "tsdb", "create-blocks-from", "openmetrics", text,
		data).CombinedOutput(); err != nil {
		t.Fatalf("promtool does not import the recording: %v\n%s", err, out)
	}
	path, err := filepath.Abs(rules)
	if err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(settings, []byte("rule_files: ["+path+"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	var log bytes.Buffer
	run := exec.Command("prometheus", "--config.file="+settings, "--storage.tsdb.path="+data,
		"--storage.tsdb.retention.time=100y", "--web.listen-address="+address)
	run.Stdout, run.Stderr = &log, &log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = run.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = run.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	p := &prometheus{t: t, url: "http://" + address, at: scrapes[len(scrapes)-1].at}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		answer, err := http.Get(p.url + "/-/ready")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return p
			}
		}
		select {
		case <-ended:
			t.Fatalf("Prometheus ended:\n%s", log.String())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("Prometheus is not ready: %v", err)
		}
	}
}

// get asks Prometheus's API and reads the data of its answer.
func (p *prometheus) get(path string, parameters url.Values, data any) error {
	response, err := http.Get(p.url + path + "?" + parameters.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", answer.Status, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// result is one series of an answer.
type result struct {
	labels map[string]string
	value  float64
}

// query runs a query as of the last scrape.
func (p *prometheus) query(expr string) ([]result, error) {
	var data struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	at := strconv.FormatFloat(float64(p.at.UnixMilli())/1000, 'f', 3, 64)
	err := p.get("/api/v1/query", url.Values{"query": {expr}, "time": {at}}, &data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	var list []result
	for _, r := range data.Result {
		text, _ := r.Value[1].(string)
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", expr, err)
		}
		list = append(list, result{r.Metric, x})
	}
	return list, nil
}

// queries returns the queries of the dashboard, by the title of their panel, for all routers.
func queries(t *testing.T) map[string]string {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Annotations struct {
			List []struct{ Name, Expr string }
		}
	}
	text, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	add := func(title, expr string) { all[strings.ReplaceAll(expr, "$instance", ".*")] = title }
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			add(p.Title, target.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		add(a.Name, a.Expr)
	}
	return all
}

// without are the queries, by a part of them, that find nothing in the recording, and why.
var without = map[string]string{
	"cygnet_authorizer_":                   "no router asks an authorizer",
	"changes(cygnet_start_time_seconds":    "no daemon was restarted",
	"rate(cygnet_kernel_failures_total":    "the kernels refused nothing",
	"cygnet_event_readers_dropped_total[1": "no reader of events was dropped",
}

// seldom is a part of the query that may find something or nothing: a packet may come a second
// time, or late.
const seldom = "rate(cygnet_packets_dropped_total"

// bounds has, for some queries by a part of them, the least and the greatest value of any series.
var bounds = map[string][2]float64{
	"min(cygnet_strongswan_connected":             {1, 1},
	"sum(cygnet_routes_missing":                   {0, 0},
	"count(cygnet_interface_protected":            {0, 0},
	"cygnet_bindings{":                            {0, 3},
	"cygnet_ike_sas{":                             {0, 4},
	"cygnet_nhs_round_trip_seconds{":              {1e-5, 30},
	"cygnet_peer_round_trip_seconds{":             {1e-5, 30},
	"cygnet_limit_used{":                          {0, 0.5},
	"rate(cygnet_interface_received_bytes_total":  {0, 1e6},
	"rate(cygnet_interface_sent_bytes_total":      {-1e6, 0},
	"cygnet_turn_seconds_bucket":                  {1e-6, 3},
	"cygnet_sa_setup_seconds_bucket":              {1e-3, 30},
	"cygnet_shortcut_up_seconds_bucket":           {1e-3, 30},
	"time() - cygnet_strongswan_start_time":       {0, 3600},
	"time() - cygnet_peer_received_time_seconds":  {-5, 600},
	"time() - (cygnet_peer_since_time_seconds":    {-5, 600},
	"rate(cygnet_heap_allocations_total":          {0, 1e7},
	"sum by (instance, role, result) (rate(cygne": {0, 10},
}

// entry returns the entry of a table whose key is a part of an expression.
func entry[V any](table map[string]V, expr string) (part string, v V, found bool) {
	for part, v := range table {
		if strings.Contains(expr, part) {
			return part, v, true
		}
	}
	return "", v, false
}

// A real Prometheus takes the recording, and each query of the dashboard finds something in it:
// numbers that can be. What cannot be found is listed with the reason.
func TestDashboardOnPrometheus(t *testing.T) {
	p := start(t, read(t))
	for expr, title := range queries(t) {
		list, err := p.query(expr)
		if err != nil {
			t.Errorf("%s: %v", title, err)
			continue
		}
		_, why, excused := entry(without, expr)
		if strings.Contains(expr, seldom) {
			continue
		}
		if excused == (len(list) > 0) {
			t.Errorf("%s: %s finds %d series; expected to find none: %t (%s)", title, expr,
				len(list), excused, why)
		}
		_, within, bounded := entry(bounds, expr)
		finite := 0
		for _, r := range list {
			if math.IsNaN(r.value) || math.IsInf(r.value, 0) {
				continue // a quantile of what did not happen
			}
			finite++
			if bounded && (r.value < within[0] || r.value > within[1]) {
				t.Errorf("%s: %s is %g for %v, want %g to %g", title, expr, r.value, r.labels,
					within[0], within[1])
			}
		}
		if finite == 0 && !excused {
			t.Errorf("%s: %s finds no number", title, expr)
		}
	}
}

// fired are the alerts whose condition holds at the end of the recording, and why.
var fired = map[string]string{
	"CygnetProblem":         "spoke3 has another PSK",
	"CygnetNotRegistered":   "likewise",
	"CygnetNoServerInUse":   "likewise",
	"CygnetPeersNotSecured": "likewise",
}

// perhaps are those whose condition depends on how often something happened until the end of the
// recording, and what that is.
var perhaps = map[string]string{"CygnetIKEFailures": "spoke3 dials the hub"}

// metricName finds the names of metrics in an expression.
var metricName = regexp.MustCompile(`\b(cygnet|node)_[a-z_]+`)

// unrecorded are the metrics of alerts that the recording does not have, and why.
var unrecorded = map[string]string{
	"cygnet_event_readers_dropped_total": "no reader of events was dropped",
	"cygnet_authorizer_answers":          "no router asks an authorizer",
	"cygnet_authorizer_malformed_total":  "likewise",
}

// A real Prometheus takes all alerts, has each metric that they ask for, and finds that the
// conditions hold of those alerts alone for which there was a reason in the lab.
func TestAlertsOnPrometheus(t *testing.T) {
	p := start(t, read(t))
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Query, Health string }
		}
	}
	if err := p.get("/api/v1/rules", url.Values{}, &data); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			count++
			list, err := p.query(r.Query)
			if err != nil {
				t.Errorf("%s: %v", r.Name, err)
			}
			why, expected := fired[r.Name]
			_, either := perhaps[r.Name]
			if expected != (len(list) > 0) && !either {
				t.Errorf("%s: its condition holds for %v; expected that it holds: %t (%s)",
					r.Name, list, expected, why)
			}
			for _, name := range metricName.FindAllString(r.Query, -1) {
				list, err := p.query("count(" + name + ")")
				if _, without := unrecorded[name]; err != nil || without == (len(list) > 0) {
					t.Errorf("%s asks for %s, of which there are %v, %v", r.Name, name, list, err)
				}
			}
		}
	}
	if count < len(alertCases)/2 {
		t.Errorf("Prometheus has %d alerts only", count)
	}
}

// promtool finds nothing to object to in the names, the texts and the form of the metrics.
func TestMetricsByTheConventions(t *testing.T) {
	last := map[string]scrape{}
	for _, s := range read(t) {
		last[s.instance] = s
	}
	lint := func(text string) string {
		c := exec.Command("promtool", "check", "metrics")
		c.Stdin = strings.NewReader(text)
		out, err := c.CombinedOutput()
		if err != nil {
			out = append(out, err.Error()...)
		}
		return string(out)
	}
	for _, s := range last {
		if out := lint(s.text); out != "" {
			t.Errorf("%s:\n%s", s.instance, out)
		}
	}
	if out := lint("# TYPE x counter\nx 1\n"); out == "" {
		t.Error("promtool also takes a counter without a text and a proper name")
	}
	if len(last) < 4 {
		t.Errorf("the recording has %d routers only", len(last))
	}
}
