// Package conformance checks the tables of two documents against the tests. RFC2332.md covers every
// section of RFC 2332 that binds, and each of its rows names existing tests or gives a reason. The
// tests that test/README.md names exist.
package conformance

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the directory of the module.
const module = "../.."

// keywords has, for each section of RFC 2332 with a binding statement, the number of RFC 2119's key
// words in that section. A section with 0 binds in lower-case words only. Sections without a
// binding statement (terms, general remarks, IANA) are not in the map.
var keywords = map[string]int{
	"2.2": 3, "3": 6, "4": 2, "5": 2, "5.1": 8,
	"5.2.0.1": 6, "5.2.1": 4, "5.2.2": 10, "5.2.3": 9, "5.2.4": 3,
	"5.2.5": 6, "5.2.6": 0, "5.2.7": 4,
	"5.3": 12, "5.3.0": 0, "5.3.1": 9, "5.3.2": 12, "5.3.3": 10,
	"5.3.4": 1, "5.3.4.1": 0, "5.3.4.2": 3, "5.3.4.3": 0, "5.3.4.4": 0, "5.3.5": 0,
	"6.1": 0, "6.2.1": 6, "6.2.2": 0, "6.3": 1, "6.4": 1, "8": 0,
}

// row is one statement of the table in RFC2332.md.
type row struct {
	line      int
	section   string // of RFC 2332
	statement string
	level     string // the key words of the statement
	we        string // does, deviates or n.a.
	proof     string // the tests, or the reason for a deviation
}

// String returns where a row is and its statement.
func (r row) String() string {
	return fmt.Sprintf("RFC2332.md:%d: §%s %q", r.line, r.section, r.statement)
}

// tests returns the names of the tests in a row.
func (r row) tests() []string {
	var names []string
	for _, m := range quoted.FindAllStringSubmatch(r.proof, -1) {
		names = append(names, m[1])
	}
	return names
}

// reason returns what a row says besides the names of tests.
func (r row) reason() string { return strings.Trim(quoted.ReplaceAllString(r.proof, ""), " ,.;:") }

var (
	quoted  = regexp.MustCompile("`([^`]+)`")
	heading = regexp.MustCompile(`^## ([0-9.]+) `)
	keyword = regexp.MustCompile(`\b(MUST|SHALL|SHOULD|MAY|RECOMMENDED|REQUIRED|OPTIONAL)\b`)
)

// readTable returns all rows of RFC2332.md.
func readTable(t *testing.T) []row {
	t.Helper()
	text, err := os.ReadFile("RFC2332.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	section, n := "", 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if m := heading.FindStringSubmatch(line); m != nil {
			section = m[1]
		}
		if !strings.HasPrefix(line, "|") ||
			strings.HasPrefix(line, "|---") ||
			strings.HasPrefix(line, "| Statement ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 4 {
			t.Fatalf("RFC2332.md:%d: %d cells, want 4", n, len(cells))
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, row{n, section, cells[0], cells[1], cells[2], cells[3]})
	}
	return rows
}

// RFC2332.md has every section that binds, and no other. The rows of a section have at least as
// many key words as the section in the RFC.
func TestEverySectionIsThere(t *testing.T) {
	found := make(map[string]int)
	for _, r := range readTable(t) {
		if _, known := keywords[r.section]; !known {
			t.Errorf("%s: RFC 2332 has nothing that binds in section %s", r, r.section)
		}
		found[r.section] += len(keyword.FindAllString(r.level, -1))
	}
	for _, section := range slices.Sorted(maps.Keys(keywords)) {
		got, there := found[section]
		switch {
		case !there:
			t.Errorf("section %s is missing", section)
		case got < keywords[section]:
			t.Errorf("section %s has %d key words in RFC2332.md, %d in the RFC",
				section, got, keywords[section])
		}
	}
}

// A row for a statement that Cygnet keeps names a test. A row for another statement gives a reason.
func TestEveryStatementIsProvedOrExplained(t *testing.T) {
	count := make(map[string]int)
	for _, r := range readTable(t) {
		count[r.we]++
		switch r.we {
		case "does":
			if len(r.tests()) == 0 {
				t.Errorf("%s: no test", r)
			}
		case "deviates", "n.a.":
			if len(strings.Fields(r.reason())) < 3 {
				t.Errorf("%s: no reason", r)
			}
		default:
			t.Errorf("%s: %q is not one of does, deviates, n.a.", r, r.we)
		}
		if r.statement == "" || r.level == "" {
			t.Errorf("%s: a cell is empty", r)
		}
	}
	t.Logf("%d statements: %d kept, %d deviations, %d not applicable",
		count["does"]+count["deviates"]+count["n.a."],
		count["does"], count["deviates"], count["n.a."])
}

// Every test that RFC2332.md names exists. If the name has a part after a slash, the test has a
// case of that name.
func TestNamedTestsExist(t *testing.T) {
	there := findTests(t)
	for _, r := range readTable(t) {
		for _, name := range r.tests() {
			name, sub, hasSub := strings.Cut(name, "/")
			texts, ok := there[name]
			switch {
			case !ok:
				t.Errorf("%s: there is no test %s", r, name)
			case hasSub && !slices.Contains(texts, sub):
				t.Errorf("%s: %s has no row %q", r, name, sub)
			}
		}
	}
}

// findTests returns all tests of the module, including those behind build tags. The keys of the map
// are "package.Name". The values are the string literals in each test, among which are the names of
// its cases.
func findTests(t *testing.T) map[string][]string {
	t.Helper()
	tests := make(map[string][]string)
	err := filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" ||
			strings.HasPrefix(d.Name(), ".") && d.Name() != ".."):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if ok && f.Recv == nil &&
				(strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				tests[strings.TrimSuffix(file.Name.Name, "_test")+"."+f.Name.Name] = textsIn(f)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

// textsIn returns the values of all string literals in a function.
func textsIn(f *ast.FuncDecl) []string {
	var texts []string
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				texts = append(texts, text)
			}
		}
		return true
	})
	return texts
}
