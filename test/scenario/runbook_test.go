//go:build lab

package scenario

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cygnet/test/lab"
)

// entry is an entry of the runbook (doc/operations.md) that a scenario runs: each command that the
// entry shows, in the order of the page, on the router that the prompt names. What the command
// prints has to be what the page shows.
type entry struct {
	t        *testing.T
	mesh     *lab.Mesh
	symptom  string
	examples []example
	done     int
}

// example is a command of the runbook, and what the page shows that it prints. In that, "..."
// stands for any words, and a line may be broken where the page has no room.
type example struct{ on, command, output string }

// prompt begins an example: "    spoke1# cygnet status".
var prompt = regexp.MustCompile(`^    (hub|spoke[0-9])# (.*)$`)

// runbook returns the entry about a symptom.
func runbook(t *testing.T, m *lab.Mesh, symptom string) *entry {
	t.Helper()
	page, err := os.ReadFile("../../doc/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "\n## "+symptom+"\n")
	if !found {
		t.Fatalf("the runbook has no entry %q", symptom)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	e := &entry{t: t, mesh: m, symptom: symptom}
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		m := prompt.FindStringSubmatch(line)
		switch {
		case m != nil:
			e.examples = append(e.examples, example{on: m[1], command: m[2]})
			inside = true
		case inside && (line == "" || strings.HasPrefix(line, "    ")):
			e.examples[len(e.examples)-1].output += strings.TrimSpace(line) + "\n"
		default:
			inside = false
		}
	}
	return e
}

// acts begins the commands that change something. They run once.
var acts = regexp.MustCompile(
	`^(cygnet (reload$|peer (un)?block |register |resolve )|swanctl --load-creds)`)

// follow goes on to the next example of the entry, which has to begin with these words. A command
// that only shows something is repeated until it prints what the page shows.
func (e *entry) follow(command string) {
	e.t.Helper()
	if e.done == len(e.examples) {
		e.t.Fatalf("%s: the page has no example after the %dth", e.symptom, e.done)
	}
	x := e.examples[e.done]
	e.done++
	if have := x.on + "# " + x.command; !strings.HasPrefix(have, command) {
		e.t.Fatalf("%s: the page goes on with %q, want %q", e.symptom, have, command)
	}
	s := e.site(x.on)
	var out string
	look := func() error {
		out = e.run(s, x.command)
		return lab.True(printed(out, x.output), "- page, + output\n%s",
			cmp.Diff(lines(x.output), lines(out)))
	}
	err := look()
	if err != nil && !acts.MatchString(x.command) {
		err = lab.Poll(later, look)
	}
	if err != nil {
		e.t.Errorf("%s: %s# %s\n%v", e.symptom, x.on, x.command, err)
	}
	e.t.Logf("%s# %s\n%s", x.on, x.command, out)
}

// well awaits that cygnet status on these sites exits with 0, which means that nothing is wrong.
func (e *entry) well(sites ...*lab.Site) {
	e.t.Helper()
	for _, s := range sites {
		what := fmt.Sprintf("%s: cygnet status on %s exits with 0", e.symptom, s.Name)
		e.mesh.Await(what, later, func() error {
			code, out := s.StatusCode()
			return lab.True(code == 0, "it exits with %d:\n%s", code, out)
		})
	}
}

// shows awaits that a command of cygnet on a site prints these words, or with want false, none of
// them.
func (e *entry) shows(want bool, s *lab.Site, command string, words ...string) {
	e.t.Helper()
	what := fmt.Sprintf("%s: cygnet %s on %s has the words %q: %t",
		e.symptom, command, s.Name, words, want)
	e.mesh.Await(what, later, func() error {
		out, err := s.TryCygnet(strings.Fields(command)...)
		if err != nil {
			return err
		}
		for _, w := range words {
			if strings.Contains(masked(out), w) != want {
				return fmt.Errorf("it prints\n%s", out)
			}
		}
		return nil
	})
}

// lines returns the lines of a text as they are compared, for a difference that people can read.
func lines(text string) []string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	for n := range all {
		all[n] = masked(all[n])
	}
	return all
}

// site returns the site of a prompt.
func (e *entry) site(name string) *lab.Site {
	e.t.Helper()
	for _, s := range e.mesh.Sites() {
		if s.Name == name {
			return s
		}
	}
	e.t.Fatalf("%s: the mesh has no %s", e.symptom, name)
	return nil
}

// run runs a command of the page on a site, and returns what it prints. A status that finds a
// problem is no failure.
func (e *entry) run(s *lab.Site, command string) string {
	e.t.Helper()
	words := strings.Fields(command)
	if words[0] != "cygnet" {
		return s.Run(words[0], words[1:]...)
	}
	out, err := s.TryCygnet(words[1:]...)
	if err != nil {
		return fmt.Sprintf("%s%v", out, err)
	}
	return out
}

// end fails the test if the page has examples that the scenario has not run.
func (e *entry) end() {
	e.t.Helper()
	for _, x := range e.examples[e.done:] {
		e.t.Errorf("%s: nothing runs %s# %s", e.symptom, x.on, x.command)
	}
}

// leftOut is what stands for any words in the page.
var leftOut = regexp.MustCompile(` ?\\\.\\\.\\\. ?`)

// printed reports whether a command printed what the page shows.
func printed(output, page string) bool {
	want := leftOut.ReplaceAllString(regexp.QuoteMeta(masked(page)), ".*")
	return regexp.MustCompile("^" + want + "$").MatchString(masked(output))
}

// masks are for what differs between two runs of a command: times, versions, sizes, counts and the
// names that charon and the kernel give to SAs.
var masks = []struct {
	of *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T][0-9:.]+Z?`), "AT"},
	{regexp.MustCompile(`\b[0-9]+(\.[0-9]+)?(d|h|m|s|ms|µs)([0-9]+[hms])*\b`), "TIME"},
	{regexp.MustCompile(`\bless than a second\b`), "TIME"},
	{regexp.MustCompile(`\b(TIME ago|now)\b`), "THEN"},
	{regexp.MustCompile(`\bcygnetd [0-9][^ ,]*`), "cygnetd VERSION"},
	{regexp.MustCompile(`\bstrongSwan [0-9][^ ,]*`), "strongSwan VERSION"},
	{regexp.MustCompile(`\bpid [0-9]+`), "pid N"},
	{regexp.MustCompile(`\b[0-9.]+ (B|KiB|MiB|bytes)\b`), "SIZE"},
	{regexp.MustCompile(`\b(IKE_SA|CHILD_SA) [0-9]+`), "$1 N"},
	{regexp.MustCompile(`\bESP [0-9a-f]{8}\b`), "ESP SPI"},
	{regexp.MustCompile(`\b[0-9]+ (received|sent|dropped|requests|times)\b`), "N $1"},
	{regexp.MustCompile(`\b[0-9]+ packets?\b`), "N packets"},
	{regexp.MustCompile(`(?m)^ *[0-9]+  AT`), "AT"},
}

// masked returns the words of a text without what differs between two runs, with one space between
// them.
func masked(text string) string {
	for _, m := range masks {
		text = m.of.ReplaceAllString(text, m.by)
	}
	return strings.Join(strings.Fields(text), " ")
}
