package api

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The page that lists all metrics, and the lines that the list is between.
const (
	metricsPage  = "../../doc/metrics.md"
	metricsBegin = "<!-- go test ./nhrpd/api -update writes what follows -->\n"
	metricsEnd   = "<!-- end -->\n"
)

var label = regexp.MustCompile(`([a-z_]+)="`)

// metricsTable returns a table of all metrics with type, labels and meaning, from the golden file.
// A label of which the golden file has no sample would be missing, so that the test demands a
// sample of each metric.
func metricsTable(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	table := "| metric | type | labels | meaning |\n|---|---|---|---|\n"
	for _, family := range strings.Split(string(text), "# HELP ")[1:] {
		help, rest, _ := strings.Cut(family, "\n# TYPE ")
		kind, samples, _ := strings.Cut(rest, "\n")
		name, meaning, _ := strings.Cut(help, " ")
		if samples == "" {
			t.Errorf("the golden file has no sample of %s, so that nobody knows its labels", name)
		}
		var labels []string
		for _, m := range label.FindAllStringSubmatch(samples, -1) {
			if m[1] != "le" && !slices.Contains(labels, m[1]) {
				labels = append(labels, m[1])
			}
		}
		_, kind, _ = strings.Cut(kind, " ")
		table += fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, kind, strings.Join(labels, ", "),
			meaning)
	}
	return table
}

// doc/metrics.md lists every metric with its type, its labels and its meaning. With -update the
// test writes the list.
func TestMetricsAreDocumented(t *testing.T) {
	table := metricsTable(t)
	text, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), metricsBegin)
	listed, after, end := strings.Cut(rest, metricsEnd)
	if !ok || !end {
		t.Fatalf("%s has no place for the list", metricsPage)
	}
	if *update {
		listed = table
		page := before + metricsBegin + listed + metricsEnd + after
		if err := os.WriteFile(metricsPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(table, listed); diff != "" {
		t.Errorf("go test ./nhrpd/api -update writes it anew; want (-), got (+):\n%s", diff)
	}
}
