//go:build lab

package scenario

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cygnet/test/lab"
	"cygnet/test/web/recording"
)

// The recordings are made anew by
//
//	go test -tags lab -exec test/uml/run -run TestRecordedMesh ./test/scenario -update
var update = flag.Bool("update", false, "write the recordings for the tests of the web page anew")

// recorded are the recordings of what a hub and a spoke show.
type recorded struct {
	*lab.Mesh
	recorders []*recording.Recorder // that of the hub first
	sites     []*lab.Site
}

// begin begins to record a site.
func (r *recorded) begin(s *lab.Site) {
	r.recorders = append(r.recorders, recording.NewRecorder(s.Name, s.Path(lab.CygnetSocket)))
	r.sites = append(r.sites, s)
}

// shown awaits that the views of the sites have all these lines, and not those that begin with
// "no", and records what changes until then. Then it adds a step with a note to each recording.
func (r *recorded) shown(note string, views ...[]string) {
	r.Helper()
	ctx := context.Background()
	r.Await(note, later, func() error {
		for i, rec := range r.recorders {
			if err := rec.Look(ctx); err != nil {
				return err
			}
			steps := rec.Recording().Steps
			if err := viewHas(&steps[len(steps)-1], views[i]); err != nil {
				return fmt.Errorf("%s: %w", r.sites[i].Name, err)
			}
		}
		return nil
	})
	for i, rec := range r.recorders {
		if err := rec.Note(ctx, note, r.pairs(r.sites[i])...); err != nil {
			r.Fatalf("%s: %v", note, err)
		}
		r.Logf("%s, %s:\n  %s", note, r.sites[i].Name, strings.Join(lastMesh(rec), "\n  "))
	}
}

// lastMesh returns the view of the mesh in a recording's last step.
func lastMesh(rec *recording.Recorder) []string {
	steps := rec.Recording().Steps
	return steps[len(steps)-1].Mesh()
}

// viewHas returns nil if the view of a step has all these lines, and no line that continues one
// that begins with "no".
func viewHas(s *recording.Step, want []string) error {
	mesh := s.Mesh()
	for _, line := range want {
		absent, without := strings.CutPrefix(line, "no ")
		if has := slices.ContainsFunc(mesh, func(l string) bool {
			return l == line || without && strings.HasPrefix(l, absent)
		}); has == without {
			return fmt.Errorf("want %q, have\n%s", line, strings.Join(mesh, "\n"))
		}
	}
	return nil
}

// pairs lists what a site is asked to explain, besides the pairs that it remembers. It is what the
// page asks when a router is chosen: the ways to the other routers and, on a spoke, to what is
// behind them; on the hub the ways from spoke1 to the other spokes.
func (r *recorded) pairs(of *lab.Site) (all []recording.Pair) {
	for _, s := range r.Sites() {
		if s == of {
			continue
		}
		all = append(all, recording.Pair{Destination: s.Overlay})
		switch {
		case of != r.Hub:
			all = append(all, recording.Pair{Destination: s.LAN.Addr().Next()})
		case s != r.Spoke1:
			all = append(all, recording.Pair{Destination: s.Overlay, Source: r.Spoke1.Overlay})
		}
	}
	return all
}

// check compares a recording with the one that the tests of the page use: both have the same notes
// and fields of the same kinds, and what the notes promise.
func (r *recorded) check(rec *recording.Recording, path string) {
	r.Helper()
	kept, err := recording.ReadFile(path)
	if err != nil {
		r.Fatalf("%v", err)
	}
	if !slices.Equal(rec.Notes(), kept.Notes()) {
		r.Errorf("%s has the notes\n%q, want\n%q", path, kept.Notes(), rec.Notes())
	}
	was, err := kept.Shape()
	if err != nil {
		r.Fatalf("%v", err)
	}
	is, err := rec.Shape()
	if err != nil {
		r.Fatalf("%v", err)
	}
	for _, fault := range was.Compare(is, rec.Needs()) {
		r.Errorf("what is recorded on %s now does not fit %s: %s", rec.Router, path, fault)
	}
}

// A hub and six spokes: direct paths come and go, one spoke is behind NAT, one registers late, one
// is refused and then taken, one direct path fails, and one spoke says goodbye. What the API of the
// hub and of a spoke shows of that is recorded. The tests of the web page use a recording of this
// scenario; this test tells when it is out of date.
func TestRecordedMesh(t *testing.T) {
	r := &recorded{Mesh: lab.NewMesh(t, lab.SpokeBehindNAT("spoke2"), lab.MoreSpokes(3))}
	r.Add(`path_timeout = "1s"`, `idle_time = "10s"`)
	spoke4, spoke5, spoke6 := r.More[0], r.More[1], r.More[2]
	r.Hub.Rules = []string{
		"[[interface.gre1.peer]]\nidentity = \"spoke6.example.net\"\naddresses = [\"10.255.0.99\"]\n",
		everyone,
	}
	r.Hub.Start()
	r.begin(r.Hub)
	r.shown("the hub is alone", []string{"no binding", "no peer"})
	r.Spoke1.Start()
	r.begin(r.Spoke1)
	for _, s := range []*lab.Site{r.Spoke2, r.Spoke3, spoke4} {
		s.Start()
	}
	r.shown("four spokes are registered", []string{
		"binding 10.255.0.11 at 192.0.2.11", "peer 192.0.2.11: secured",
		"binding 10.255.0.12 at 192.0.2.12", "peer 192.0.2.12: secured, behind NAT",
		"binding 10.255.0.13 at 192.0.2.13", "binding 10.255.0.14 at 192.0.2.14",
	}, []string{"nhs 10.255.0.1 at 192.0.2.1: registered", "no shortcut"})
	lasting := r.directPaths(spoke5, spoke6)
	r.failures(spoke4, spoke5, spoke6)
	lasting.Stop()
	encrypted(r.Mesh)
	for i, rec := range r.recorders {
		path := filepath.Join("..", "web", "testdata", r.sites[i].Name+".ndjson")
		if *update {
			if err := rec.Recording().WriteFile(path); err != nil {
				t.Fatal(err)
			}
		}
		r.check(rec.Recording(), path)
	}
}

// directPaths has direct paths of spoke1 come and go, while one spoke registers late and another is
// refused. It returns the traffic to spoke2, for which the direct path stays.
func (r *recorded) directPaths(late, refused *lab.Site) *lab.Train {
	r.Helper()
	const pace = 50 * time.Millisecond
	to3 := r.Spoke1.Host.Train(r.Spoke3.Host.Addr, pace)
	r.shown("a direct path comes", []string{"pair 10.255.0.11 to 172.16.3.10"},
		[]string{"shortcut 172.16.3.0/24 via 10.255.0.13: up", "path to 192.0.2.13: proven"})
	late.Start()
	r.shown("a spoke registers late",
		[]string{"binding 10.255.0.15 at 192.0.2.15", "peer 192.0.2.15: secured"}, nil)
	refused.Start()
	r.shown("a spoke is refused",
		[]string{"no binding 10.255.0.16", "problem warning: registration-refused"}, nil)
	to2 := r.Spoke1.Host.Train(r.Spoke2.Host.Addr, pace)
	to5 := r.Spoke1.Host.Train(late.Host.Addr, pace)
	r.shown("three direct paths", nil, []string{
		"shortcut 172.16.2.0/24 via 10.255.0.12: up", "peer 192.0.2.12: secured, behind NAT",
		"shortcut 172.16.3.0/24 via 10.255.0.13: up", "shortcut 172.16.5.0/24 via 10.255.0.15: up",
	})
	to3.Stop()
	to5.Stop()
	r.shown("direct paths go", nil, []string{
		"shortcut 172.16.2.0/24 via 10.255.0.12: up", "no shortcut 172.16.3.0/24",
		"no shortcut 172.16.5.0/24", "no peer 192.0.2.13", "no peer 192.0.2.15",
	})
	return to2
}

// failures has a direct path of spoke1 fail, the refused spoke taken, and another say goodbye.
func (r *recorded) failures(unreachable, leaving, refused *lab.Site) {
	r.Helper()
	unreachable.Iptables("-A", "INPUT", "-s", r.Spoke1.Public.String(), "-p", "esp", "-j", "DROP")
	r.Spoke1.Host.Ping(unreachable.Host.Addr, 2)
	r.shown("a direct path fails", nil,
		[]string{"path to 192.0.2.14: failed", "problem warning: direct-path-failed"})
	r.Hub.Rules = []string{everyone}
	r.Hub.WriteFile(lab.CygnetConfig, 0o640, r.Hub.Config())
	r.Hub.Daemon.Signal(syscall.SIGHUP)
	r.shown("the refused spoke is taken",
		[]string{"binding 10.255.0.16 at 192.0.2.16", "no problem warning: registration-refused"},
		nil)
	leaving.Cygnet("leave")
	r.shown("a spoke says goodbye",
		[]string{"no binding 10.255.0.15", "no peer 192.0.2.15"}, nil)
}
