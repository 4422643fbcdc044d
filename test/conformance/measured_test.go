package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// measured is the path of test/README.md. Its tables list faults and situations with what the
// project promises and what was measured. Each row names the test that checks it.
const measured = "../README.md"

// Every row of the tables in test/README.md names a test, as "make lab T=" takes it or by its full
// name. Every test that the file names exists.
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
			if name := "scenario.Test" + m[1]; len(quotedTests("`"+m[1]+"`")) == 0 &&
				!exists(there, name) {
				t.Errorf("README.md:%d: there is no %s, so \"make lab T=%s\" runs nothing",
					n, name, m[1])
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

// quotedTests returns the tests that a line names in full. A name may begin with the package, and
// may end in "…" for all tests that begin so.
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

// isSetting reports whether a quoted word of the last column is not a test, but the folder of a
// package or a variable for make.
func isSetting(word string) bool {
	_, err := os.Stat(filepath.Join(module, word))
	return err == nil || strings.Contains(word, "=")
}

// exists reports whether a test has a name. A name without a package matches a test of any package,
// and a name that ends in "…" matches every test that begins so.
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
