package main

import (
	"bufio"
	"cmp"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const tableFile = "test/tiers/tests.txt"

// test is one line of the table.
type test struct {
	pkg  string // the package's directory
	name string
	tier string // quick, full or long
	// on two idle processors; it orders the tests and serves to estimate what is left
	takes time.Duration

	kernel string // a further parameter of the guest's kernel; empty: none
}

func readTable(file string) ([]test, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open the table of tests: %w", err)
	}
	defer f.Close()
	var tests []test
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		t, err := parseLine(fields)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		tests = append(tests, t)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the table of tests: %w", err)
	}
	return tests, nil
}

// ownMachine stands in the place of a kernel's parameter for tests that boot a machine of their
// own, so that they run on the host.
const ownMachine = "machine"

func parseLine(fields []string) (test, error) {
	if len(fields) != 4 && len(fields) != 5 {
		return test{}, fmt.Errorf("want package, test, tier, seconds and, if its kernel needs one, a parameter; have %d words",
			len(fields))
	}
	if !slices.Contains([]string{"quick", "full", "long"}, fields[2]) {
		return test{}, fmt.Errorf("tier %q is none of quick, full and long", fields[2])
	}
	s, err := strconv.ParseFloat(fields[3], 64)
	if err != nil || s <= 0 {
		return test{}, fmt.Errorf("%q is no positive number of seconds", fields[3])
	}
	t := test{
		pkg: fields[0], name: fields[1], tier: fields[2],
		takes: time.Duration(s * float64(time.Second)),
	}
	if len(fields) == 5 {
		t.kernel = fields[4]
	}
	return t, nil
}

// inTier reports whether a run of the given tier includes the test.
func (t test) inTier(tier string) bool {
	switch tier {
	case "quick":
		return t.tier == "quick"
	case "rest":
		return t.tier == "full"
	case "all":
		return t.tier != "long"
	}
	return t.tier == tier
}

// job is what one guest runs at a time: a scenario, or the short tests of one package.
type job struct {
	Name  string
	Dir   string // the working directory, the same as under go test
	Args  []string
	Takes time.Duration

	Kernel string // a further parameter of the guest's kernel; empty: none
	Again  bool   // the guest that had it before died
}

// shortest is the duration below which tests of one package share a job, so that the time to start
// the test program matters little.
const shortest = 4 * time.Second

// plan returns the jobs of a tier, the longest first, so that the guests end at about the same
// time.
func plan(tests []test, tier string) []job {
	var jobs []job
	short := make(map[string][]test)
	for _, t := range tests {
		switch {
		case !t.inTier(tier):
		case t.takes < shortest && t.kernel == "":
			short[t.pkg] = append(short[t.pkg], t)
		default:
			jobs = append(jobs, newJob(strings.TrimPrefix(t.name, "Test"), []test{t}))
		}
	}
	for pkg, tests := range short {
		for i, part := range split(tests, 40*time.Second) {
			name := strings.ReplaceAll(strings.TrimPrefix(pkg, "test/"), "/", "-")
			jobs = append(jobs, newJob(fmt.Sprintf("%s-short-%d", name, i+1), part))
		}
	}
	slices.SortFunc(jobs, func(a, b job) int {
		return cmp.Or(cmp.Compare(b.Takes, a.Takes), cmp.Compare(a.Name, b.Name))
	})
	return jobs
}

// kernels returns the parameters of kernels that jobs in guests need, those without one first.
func kernels(jobs []job) []string {
	var all []string
	for _, j := range jobs {
		if j.Kernel != ownMachine {
			all = append(all, j.Kernel)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// split divides tests into parts, each of which takes about as long as most.
func split(tests []test, most time.Duration) [][]test {
	var parts [][]test
	var sum time.Duration
	for _, t := range tests {
		if len(parts) == 0 || sum+t.takes > most {
			parts, sum = append(parts, nil), 0
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], t)
		sum += t.takes
	}
	return parts
}

func newJob(name string, tests []test) job {
	root, err := os.Getwd()
	if err != nil {
		root = "."
	}
	j := job{Name: name, Dir: filepath.Join(root, tests[0].pkg), Kernel: tests[0].kernel}
	var names []string
	for _, t := range tests {
		names = append(names, t.name)
		j.Takes += t.takes
	}
	program := filepath.Join(root, programFile(tests[0].pkg))
	j.Args = []string{program, "-test.v", "-test.timeout=15m",
		"-test.run=^(" + strings.Join(names, "|") + ")$"}
	return j
}

// labPackages lists the directories that have tests on a real kernel.
func labPackages() []string {
	found := make(map[string]bool)
	_ = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (path == "bin" || path == "test/out" || path == "dist") {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, "_test.go") && isLab(path) {
			found[filepath.Dir(path)] = true
		}
		return nil
	})
	var list []string
	for pkg := range found {
		list = append(list, pkg)
	}
	slices.Sort(list)
	return list
}

func isLab(file string) bool {
	text, err := os.ReadFile(file)
	return err == nil && strings.HasPrefix(string(text), "//go:build lab\n")
}

// labTests names the tests of a package that need a real kernel: those in files with the build tag
// "lab". The others run on the host, under the race detector.
func labTests(pkg string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(pkg, "*_test.go"))
	if err != nil {
		return nil, fmt.Errorf("list the tests of %s: %w", pkg, err)
	}
	var names []string
	for _, file := range files {
		if !isLab(file) {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("read the tests of %s: %w", pkg, err)
		}
		for name := range testFunctions(tree) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
