package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// measured is what test/README.md tells of faults and what was promised and measured; each row names the scenario that holds it.
const measured = "../README.md"

// Every row of what was measured names a test, by what "make lab T=" takes or by its full name, and every test that is named exists.
func TestMeasuredByTestsThatExist(t *testing.T) {
	text, err := os.ReadFile(measured)
	if err != nil {
		t.Fatal(err)
	}
	there := findTests(t)
	n, rows, named := 0, 0, false
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		cells := strings.Split(strings.Trim(line, "|"), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		switch {
		case !strings.HasPrefix(line, "|"):
			named = false
		case last == "`make lab T=`":
			named = true
			continue
		case strings.HasPrefix(line, "|---"):
			continue
		}
		for _, name := range quotedTests(line) {
			if !exists(there, name) {
				t.Errorf("README.md:%d: there is no test %s", n, name)
			}
		}
		if !named {
			continue
		}
		rows++
		count := 0
		for _, m := range quoted.FindAllStringSubmatch(last, -1) {
			if isSetting(m[1]) {
				continue
			}
			count++
			if name := "scenario.Test" + m[1]; len(quotedTests("`"+m[1]+"`")) == 0 && !exists(there, name) {
				t.Errorf("README.md:%d: there is no %s, so \"make lab T=%s\" runs nothing", n, name, m[1])
			}
		}
		if count == 0 {
			t.Errorf("README.md:%d: the row names no test: %s", n, last)
		}
	}
	if rows < 50 {
		t.Errorf("%d rows name tests: the tables are not read as they are written", rows)
	}
}

// quotedTests are the tests that a line gives by their full names, with a package or without, the end left out with "…" or not.
func quotedTests(line string) []string {
	var names []string
	for _, m := range quoted.FindAllStringSubmatch(line, -1) {
		_, name, qualified := strings.Cut(m[1], ".")
		if !qualified {
			name = m[1]
		}
		if strings.HasPrefix(name, "Test") && !strings.ContainsAny(name, " /=") {
			names = append(names, m[1])
		}
	}
	return names
}

// isSetting says whether a quoted word of the last column is not a test: the package of one, or a variable for make.
func isSetting(word string) bool {
	_, err := os.Stat(filepath.Join(module, word))
	return err == nil || strings.Contains(word, "=")
}

// exists says whether there is a test of a name, in any package where it names none.
func exists(tests map[string][]string, name string) bool {
	name, open := strings.CutSuffix(name, "…")
	for known := range tests {
		_, bare, _ := strings.Cut(known, ".")
		for _, candidate := range []string{known, bare} {
			if candidate == name || open && strings.HasPrefix(candidate, name) {
				return true
			}
		}
	}
	return false
}
