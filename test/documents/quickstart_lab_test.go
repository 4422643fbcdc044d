//go:build lab

package documents

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/test/lab"
)

// step is a command of the README's quick start, or a file that the reader writes.
type step struct {
	on   string // "the hub", "the spoke" or "both"
	text string
	file string // the path of the file with the text; empty: the text is a command
}

// quickStart reads the steps from the README's section for two routers. A sentence says on which
// router a step is done, a toml block is a file, and an indented line is a command.
func quickStart(t *testing.T) []step {
	t.Helper()
	_, rest, _ := strings.Cut(pages(t)["README.md"], "\n## Two routers")
	section, _, _ := strings.Cut(rest, "\n## ")
	on := regexp.MustCompile(`\bOn (the hub|the spoke|both)\b`)
	file := regexp.MustCompile("write `([^`]+)`")
	var steps []step
	var where, target string
	var inFile, inOutput bool
	for line := range strings.Lines(section) {
		switch m := on.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "   ```toml"):
			inFile = true
			steps = append(steps, step{on: where, file: target})
		case strings.HasPrefix(line, "   ```"):
			inFile = false
		case strings.HasPrefix(line, "```"):
			inOutput = !inOutput
		case inFile:
			steps[len(steps)-1].text += strings.TrimPrefix(line, "   ")
		case strings.HasPrefix(line, "       ") && !inOutput:
			steps = append(steps, step{on: where, text: strings.TrimSpace(line)})
		case m != nil:
			where = m[1]
			if f := file.FindStringSubmatch(line); f != nil {
				target = f[1]
			}
		}
	}
	return steps
}

// site is a router that a reader of the README sets up.
type site struct {
	*lab.Router
	charon *lab.Charon
	// replaces the README's values for the first spoke by those of this spoke
	own *strings.Replacer
}

// The README's quick start works, command by command: the spoke is registered, its status is the
// one that the README shows, and a second spoke that is set up like the first has a direct tunnel
// with it.
//
// Other tests cover two of the commands: 'make packages' and the installation of the package
// (packaging). The test does by hand what systemd does with the units, since the lab has no
// systemd.
func TestQuickStart(t *testing.T) {
	net := lab.New(t)
	hub := &site{Router: net.Router("hub", lab.Addr("198.51.100.1/24")), own: strings.NewReplacer()}
	spoke := func(name, last, lan string) *site {
		return &site{
			Router: net.Router(name, lab.Addr("198.51.100."+last+"/24"), lab.LAN("172.16."+lan+".1/24")),
			own: strings.NewReplacer("10.255.0.11", "10.255.0."+last, "spoke1", name,
				"172.16.1.0/24", "172.16."+lan+".0/24"),
		}
	}
	spoke1, spoke2 := spoke("spoke1", "11", "1"), spoke("spoke2", "12", "2")
	for _, s := range []*site{hub, spoke1, spoke2} {
		s.charon = s.DebianCharon("")
	}
	for _, step := range quickStart(t) {
		switch step.on {
		case "the hub":
			hub.do(t, step, spoke1, spoke2)
		case "the spoke":
			spoke1.do(t, step)
			spoke2.do(t, step)
		case "both":
			for _, s := range []*site{hub, spoke1, spoke2} {
				s.do(t, step)
			}
		}
	}
	want := shownStatus(t)
	net.Await("the spoke's status is the one in the README", 30*time.Second, func() error {
		have := comparable(spoke1.Cygnet("status"))
		return lab.True(have == want, "- README, + spoke:\n%s", cmp.Diff(want, have))
	})
	host1, host2 := spoke1.Host("host1"), spoke2.Host("host2")
	net.Await("the direct tunnel", 60*time.Second, func() error {
		if err := host1.Reaches(host2.Addr); err != nil {
			return err
		}
		next := spoke1.NextHop(host2.Addr).String()
		return lab.True(next == "10.255.0.12", "the next hop is %s", next)
	})
	if n := net.Underlay.Count(lab.OfKind(lab.GRE)); n > 0 {
		t.Errorf("want no clear GRE on the underlay, have %d packets", n)
	}
}

// do carries out a step on this router. others are the routers that scp reaches.
func (s *site) do(t *testing.T, step step, others ...*site) {
	t.Helper()
	text := s.own.Replace(step.text)
	project, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case step.file != "":
		s.WriteFile(step.file, 0o640, text)
	case text == "make packages" || strings.HasPrefix(text, "apt install ./dist/cygnet_"):
	case text == "systemctl restart strongswan":
		s.charon.Terminate()
		s.charon.Start()
	case text == "systemctl enable --now cygnetd":
		s.Cygnetd("")
	case strings.HasPrefix(text, "scp -p "):
		from := strings.Fields(text)[2]
		key, err := os.ReadFile(s.Path(from))
		if err != nil {
			t.Fatalf("the key that the README makes: %v", err)
		}
		for _, o := range others {
			o.WriteFile(from, 0o600, string(key))
		}
	case text == "cygnet status":
		// The command fails while something is wrong: charon does not answer the daemon yet, or the
		// hub has not answered the first registration.
		if err := lab.Poll(30*time.Second, func() error {
			code, out := s.StatusCode()
			return lab.True(code == 0, "it exits with %d:\n%s", code, out)
		}); err != nil {
			t.Fatalf("cygnet status on %s: %v", s.Name, err)
		}
	default:
		text = strings.ReplaceAll(text, "/usr/share/doc/cygnet/examples", filepath.Join(project, "contrib"))
		s.Run("sh", "-ec", "PATH="+filepath.Join(project, "bin")+":$PATH; "+text)
	}
}

// shownStatus returns the output of cygnet status that the README shows.
func shownStatus(t *testing.T) string {
	t.Helper()
	_, rest, ok := strings.Cut(pages(t)["README.md"], "the spoke's says:\n\n")
	var text strings.Builder
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "    ") && line != "\n" {
			break
		}
		text.WriteString(strings.TrimPrefix(line, "    "))
	}
	if !ok || text.Len() == 0 {
		t.Fatal("the README shows no status of the spoke")
	}
	return comparable(text.String())
}

// comparable removes from a status what differs between runs and routers: version, durations,
// counts and devices.
func comparable(status string) string {
	for _, r := range []struct{ of, by string }{
		{`cygnetd [^ ,]+`, "cygnetd VERSION"},
		{`strongSwan [^ ,]+`, "strongSwan VERSION"},
		{`\b[0-9]+[dhms]([0-9]+[hms])*\b|\bless than a second\b`, "TIME"},
		{`pid [0-9]+`, "pid N"},
		{`[0-9]+ (received|sent|dropped)`, "N $1"},
		{`N dropped \(.*\)`, "N dropped"},
		{`filters on .*`, "filters on DEVICES"},
	} {
		status = regexp.MustCompile(r.of).ReplaceAllString(status, r.by)
	}
	return strings.TrimSpace(status) + "\n"
}
