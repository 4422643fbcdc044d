package api

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The metrics equal the golden file, in the order and form of the Prometheus text format.
func TestMetrics(t *testing.T) {
	s := small()
	s.Interfaces[0].NHS[0].Name = "a\"b\\c\nd" // characters that need escaping
	s.Interfaces[0].NHS[0].Attempts = 3
	s.Problems = []Problem{
		{Code: ProblemPeerUnsecured, Severity: SeverityError, Interface: "gre1", Subject: "192.0.2.1"},
		{Code: ProblemPeerUnsecured, Severity: SeverityError, Interface: "gre1", Subject: "192.0.2.2"},
		{Code: ProblemReload, Severity: SeverityWarning},
	}
	var b strings.Builder
	if err := WriteMetrics(&b, s); err != nil {
		t.Fatal(err)
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
	if err := WriteMetrics(&b, s); err != nil {
		t.Fatal(err)
	}
	family, seen := "", map[string]bool{}
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
		if m := sample.FindStringSubmatch(line); m == nil || m[1] != family {
			t.Errorf("in %s: %q", family, line)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// WriteMetrics returns an error if its reader goes away.
func TestMetricsToBrokenWriter(t *testing.T) {
	if err := WriteMetrics(brokenPipe{}, small()); err == nil {
		t.Error("no error")
	}
}
