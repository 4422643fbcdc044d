package api

import (
	"errors"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The metrics equal the golden file, in the order and form of the Prometheus text format.
func TestMetrics(t *testing.T) {
	s := small()
	s.Interfaces[0].NHS[0].Name = "a\"b\\c\nd" // characters that need escaping
	s.Interfaces[0].NHS[0].Attempts = 3
	s.Interfaces[0].NHS[0].Registrations[0].Attempts = 3
	s.Interfaces[0].Links = &Links{Devices: 12, Limit: 1000}
	s.Interfaces[0].Authorizer = &Authorizer{Connected: true, Allowed: 3, Refused: 2, Unanswered: 1,
		Open: 4, Rulings: 5, Malformed: 6}
	for _, use := range []struct {
		address string
		use     NHSUse
		state   NHSState
	}{
		{"2001:db8::2", NHSUseProbing, NHSSecuring}, {"192.0.2.2", NHSUseInUse, NHSRegistered},
	} {
		s.Interfaces[0].NHS = append(s.Interfaces[0].NHS, NHS{Name: "both.example.net",
			NBMA: netip.MustParseAddr(use.address), Use: use.use, State: use.state})
	}
	s.Problems = []Problem{
		{Code: ProblemPeerUnsecured, Severity: SeverityError, Interface: "gre1", Subject: "192.0.2.1"},
		{Code: ProblemPeerUnsecured, Severity: SeverityError, Interface: "gre1", Subject: "192.0.2.2"},
		{Code: ProblemReload, Severity: SeverityWarning},
	}
	s.Interfaces[0].Peers = append(s.Interfaces[0].Peers,
		Peer{NBMA: s.Interfaces[0].Peers[0].NBMA, Mark: 7, State: PeerSecured,
			Since: started, In: now, Out: now.Add(time.Second)},
		Peer{NBMA: netip.MustParseAddr("198.51.100.9"), State: PeerAbsent},
	)
	s.Interfaces[0].Traffic = &Traffic{BytesIn: 1012, BytesOut: 2014, PacketsIn: 3, PacketsOut: 4}
	s.Interfaces[0].Peers[0].Traffic = &Traffic{BytesIn: 1007, BytesOut: 2008, PacketsIn: 1,
		PacketsOut: 2}
	s.Interfaces[0].Peers[0].RoundTrip = 0.0125
	s.Interfaces[0].NHS[0].Registrations[0].RoundTrip = 0.0125
	used := 17
	s.Interfaces[0].Limits = []Limit{{"bindings", 10_000, &used}, {"requests", 100, nil}}
	s.StrongSwan.Started = started.Add(-time.Hour)
	s.StrongSwan.Failures = map[string]uint64{"no answer": 3, "proposals": 1}
	s.StrongSwan.Refusals = map[string]uint64{"untrusted": 2}
	s.Counters.Registered = map[string]uint64{"success": 5}
	s.Counters.Served = map[string]uint64{"administratively prohibited": 6, "success": 7}
	s.Counters.Sent = map[string]uint64{"purge request": 10}
	s.Counters.Dropped["data: not admitted"] = 8
	s.Counters.Dropped["redirect not looked at: the daemon is busy"] = 9
	s.Durations.Shortcut = Histogram{
		Buckets: []Bucket{{Within: 0.003, Count: 1}, {Within: 30, Count: 2}}, Count: 3, Sum: 61.5,
	}
	var b strings.Builder
	if err := WriteMetrics(&b, s, 2); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/metrics.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// Every line is a comment or a sample in the format. Each family is described once, before its
// samples.
func TestMetricsForm(t *testing.T) {
	sample := regexp.MustCompile(`^([a-z_]+)(\{[a-z_]+="([^"\\\n]|\\["\\n])*"(,[a-z_]+="([^"\\\n]|\\["\\n])*")*\})? [0-9.]+$`)
	var b strings.Builder
	s := small()
	s.Interfaces[0].Name = "\"\\\n{}"
	if err := WriteMetrics(&b, s, 100); err != nil {
		t.Fatal(err)
	}
	family, seen := "", map[string]bool{}
	part := regexp.MustCompile(`_(bucket|sum|count)$`) // of a histogram
	for line := range strings.SplitSeq(strings.TrimSuffix(b.String(), "\n"), "\n") {
		if name, ok := strings.CutPrefix(line, "# HELP "); ok {
			family, _, _ = strings.Cut(name, " ")
			if seen[family] {
				t.Errorf("%s comes twice", family)
			}
			seen[family] = true
			continue
		}
		if strings.HasPrefix(line, "# TYPE "+family+" ") {
			continue
		}
		if m := sample.FindStringSubmatch(line); m == nil ||
			m[1] != family && part.ReplaceAllString(m[1], "") != family {
			t.Errorf("in %s: %q", family, line)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// WriteMetrics returns an error if its reader goes away.
func TestMetricsToBrokenWriter(t *testing.T) {
	if err := WriteMetrics(brokenPipe{}, small(), 0); err == nil {
		t.Error("no error")
	}
}
