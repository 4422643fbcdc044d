// Package metrics has tests only. One records the metrics of routers in the lab while things happen
// to them. The others give that recording to a real Prometheus, and have it run the queries of the
// dashboard in contrib/grafana and the alerts in contrib/prometheus.
package metrics

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// recording is what the test in the lab writes, if it is run with -update.
const recording = "testdata/recording.txt.gz"

// scrape is what Prometheus would get from a router at some time.
type scrape struct {
	instance string
	at       time.Time
	text     string
}

// heading is the line before the text of each scrape in the recording.
var heading = regexp.MustCompile(`(?m)^=== (\S+) (\d+)\n`)

// read reads the scrapes of the recording, in the order of their times.
func read(t *testing.T) []scrape {
	t.Helper()
	f, err := os.Open(recording)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var scrapes []scrape
	places := heading.FindAllSubmatchIndex(text, -1)
	for i, p := range places {
		end := len(text)
		if i+1 < len(places) {
			end = places[i+1][0]
		}
		ms, err := strconv.ParseInt(string(text[p[4]:p[5]]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		scrapes = append(scrapes, scrape{
			instance: string(text[p[2]:p[3]]), at: time.UnixMilli(ms), text: string(text[p[1]:end]),
		})
	}
	return scrapes
}

// sample is one line of metrics: the series with its labels, and its value.
type sample struct {
	family, series string
	value          float64
}

// samples returns the samples of a text, and the type of each family.
func samples(t *testing.T, text string) ([]sample, map[string]string) {
	t.Helper()
	var all []sample
	types, family := map[string]string{}, ""
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			types[name], family = kind, name
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " ")
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, sample{family, line[:at], value})
	}
	return all, types
}

// falls returns the counters, and counts of histograms, that became smaller from one scrape of a
// router to its next. It returns how many were compared as well.
func falls(t *testing.T, scrapes []scrape) (list []string, compared int) {
	t.Helper()
	before := map[string]float64{}
	for _, s := range scrapes {
		all, types := samples(t, s.text)
		for _, x := range all {
			if types[x.family] == "gauge" {
				continue
			}
			key := s.instance + " " + x.series
			last, known := before[key]
			if known {
				compared++
			}
			if x.value < last {
				list = append(list, fmt.Sprintf("%s fell from %g to %g", key, last, x.value))
			}
			before[key] = x.value
		}
	}
	slices.Sort(list)
	return list, compared
}

// A fall of a counter is found, and that of a gauge is none.
func TestFallsAreFound(t *testing.T) {
	text := "# TYPE a_total counter\na_total %d\n# TYPE b gauge\nb %d\n"
	list, compared := falls(t, []scrape{
		{instance: "x", text: fmt.Sprintf(text, 5, 5)},
		{instance: "y", text: fmt.Sprintf(text, 1, 1)},
		{instance: "x", text: fmt.Sprintf(text, 4, 4)},
	})
	if len(list) != 1 || compared != 1 || !strings.Contains(list[0], "x a_total fell from 5 to 4") {
		t.Errorf("%d compared, %q", compared, list)
	}
}
