package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A line of the table has a package, a test, a tier and seconds. Any other line is refused, and the
// error has its number.
func TestTable(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       int    // number of tests
		err        string // part of the error
	}{
		{"comments and empty lines", "# a comment\n\nkernel TestA quick 2 # why\nvici TestB long 300\n", 2, ""},
		{"a parameter", "kernel TestA quick 2 ipv6.disable=1\n", 1, ""},
		{"a word too few", "kernel TestA quick\n", 0, "tests.txt:1: want package, test, tier, seconds and, if its kernel needs one, a parameter; have 3 words"},
		{"an unknown tier", "kernel TestA fast 1\n", 0, `tier "fast" is none of quick, full and long`},
		{"no number", "\nkernel TestA full soon\n", 0, `tests.txt:2: "soon" is no positive number of seconds`},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tests.txt")
			if err := os.WriteFile(file, []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			tests, err := readTable(file)
			if len(tests) != test.want {
				t.Errorf("want %d tests, have %d", test.want, len(tests))
			}
			if (err == nil) != (test.err == "") ||
				err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("want error %q, have %v", test.err, err)
			}
		})
	}
}

// Each test is in exactly one of quick, rest and long, and all consists of quick and rest.
func TestTiersDivideTheTests(t *testing.T) {
	for _, tier := range []string{"quick", "full", "long"} {
		x := test{tier: tier}
		n := 0
		for _, run := range []string{"quick", "rest", "long"} {
			if x.inTier(run) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("a test of tier %s is in %d of quick, rest and long", tier, n)
		}
		if x.inTier("all") != (x.inTier("quick") || x.inTier("rest")) {
			t.Errorf("a test of tier %s: all is not quick and rest", tier)
		}
	}
}

// Short tests of a package share a job, each long test and each that needs another kernel has a job
// of its own, and the longest job is first.
func TestPlan(t *testing.T) {
	jobs := plan([]test{
		{pkg: "kernel", name: "TestA", tier: "quick", takes: time.Second},
		{pkg: "kernel", name: "TestB", tier: "quick", takes: 2 * time.Second},
		{pkg: "test/scenario", name: "TestMesh", tier: "quick", takes: 14 * time.Second},
		{pkg: "test/scenario", name: "TestCrowd", tier: "long", takes: time.Minute},
		{pkg: "kernel", name: "TestC", tier: "quick", takes: time.Second, kernel: "ipv6.disable=1"},
	}, "quick")
	var have []string
	for _, j := range jobs {
		have = append(have, j.Name+" "+j.Args[len(j.Args)-1])
	}
	want := []string{"Mesh -test.run=^(TestMesh)$", "kernel-short-1 -test.run=^(TestA|TestB)$",
		"C -test.run=^(TestC)$"}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("jobs differ (- want, + have):\n%s", d)
	}
	if d := cmp.Diff([]string{"", "ipv6.disable=1"}, kernels(jobs)); d != "" {
		t.Errorf("kernels differ (- want, + have):\n%s", d)
	}
}

// A guest takes the jobs for its kernel only.
func TestGuestTakesJobsForItsKernel(t *testing.T) {
	q := queue(t.TempDir())
	if err := q.fill([]job{{Name: "a", Kernel: "ipv6.disable=1"}, {Name: "b"}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ kernel, want string }{
		{"", "001-b"}, {"", ""}, {"ipv6.disable=1", "000-a"}, {"ipv6.disable=1", ""},
	} {
		name, _, err := q.claim(c.kernel, "0")
		if err != nil || name != c.want {
			t.Errorf("for a kernel with %q: want job %q, have %q (%v)", c.kernel, c.want, name, err)
		}
	}
}

// Every test on a real kernel in this project has a line in the table, and every line a test.
func TestTableIsComplete(t *testing.T) {
	t.Chdir("../..")
	tests, err := readTable(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := compare(tests); err != nil {
		t.Error(err)
	}
}

// A failing job fails the run. A job whose guest dies runs in another guest, once, and the summary
// has the log and what the dead guest said; if that one dies, too, the job has failed. In this test
// the guests are shells.
func TestFailuresAreNoticed(t *testing.T) {
	self := filepath.Join(t.TempDir(), "tiers")
	if out, err := exec.Command("go", "build", "-o", self, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	const passes = `echo "--- PASS: TestX"`
	const guestDies = `echo "before the death"; kill -9 $PPID; exit`
	for _, test := range []struct {
		name   string
		ofB    string // what job b does, in a shell; $1 names a file of its own
		passed int
		deaths int
		failed []string
	}{
		{"all pass", passes, 3, 0, nil},
		{"one fails", `echo "--- FAIL: TestX"; exit 1`, 2, 0, []string{"b"}},
		{"a guest dies", `if [ -e $1 ]; then ` + passes + `; else >$1; ` + guestDies + `; fi`, 3, 1,
			nil},
		{"each guest dies", guestDies, 2, 2, []string{"b (its guest died or never started)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			own := filepath.Join(t.TempDir(), "own")
			var jobs []job
			for name, script := range map[string]string{"a": passes, "b": test.ofB, "c": passes} {
				jobs = append(jobs, job{
					Name: name, Dir: ".", Args: []string{"sh", "-c", script, "sh", own},
				})
			}
			q := queue(t.TempDir())
			if err := q.fill(jobs); err != nil {
				t.Fatal(err)
			}
			q.guest(t.Context(), []string{"env"}, self, "", "0")
			var out strings.Builder
			p := progress{q: q, jobs: jobs, guests: 1, out: &out}
			ended := make(chan struct{})
			close(ended)
			p.watch(ended)
			err := p.conclude(context.Background())
			if (err != nil) != (test.failed != nil) || p.passed != test.passed {
				t.Errorf("want %d passed and failures %v, have %d and %v",
					test.passed, test.failed, p.passed, err)
			}
			told := strings.Count(out.String(), "it ran b, whose log is:\nbefore the death\n")
			if told != test.deaths {
				t.Errorf("want %d deaths, the summary has %d:\n%s", test.deaths, told, out.String())
			}
			if d := cmp.Diff(test.failed, p.failures); d != "" {
				t.Errorf("failures differ (- want, + have):\n%s", d)
			}
		})
	}
}

// One guest runs where programs start slower side by side, several where they do not.
func TestGuestsFollowTheMachine(t *testing.T) {
	for _, test := range []struct {
		alone, both time.Duration
		want        int
	}{
		{time.Millisecond, time.Millisecond, most},
		{time.Millisecond, 1500 * time.Microsecond, most},
		{8 * time.Millisecond, 17 * time.Millisecond, 1},
	} {
		if have := guestsFor(test.alone, test.both); have != test.want {
			t.Errorf("a program starts in %s, beside another one in %s: want %d guests, have %d",
				test.alone, test.both, test.want, have)
		}
	}
	if alone, both, err := fastestStarts(t.Context()); err != nil || alone <= 0 || both <= 0 {
		t.Errorf("want how long a program takes to start, have %s, %s and %v", alone, both, err)
	}
}
