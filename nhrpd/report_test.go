package nhrpd

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/preflight"
)

// problemsOf returns the problems in the status that have the code.
func problemsOf(t *testing.T, d *Daemon, code api.ProblemCode) []api.Problem {
	t.Helper()
	s, err := d.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(s.Problems, func(p api.Problem) bool { return p.Code != code })
}

// The status shows the fault of the last reload until a reload succeeds.
func TestFailedReloadShowsInStatus(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		write := func(text string) {
			if err := os.WriteFile(d.path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			d.ReloadAndLog(t.Context())
			synctest.Wait()
		}
		plain := "[interface.gre1]\naddress = \"10.255.0.11/24\"\nunderlay = \"eth0\"\nprotection = \"none\"\n"
		if got := problemsOf(t, d, api.ProblemReload); len(got) > 0 {
			t.Errorf("before any reload: %v", got)
		}
		write("adress = 1\n")
		got := problemsOf(t, d, api.ProblemReload)
		if len(got) != 1 || got[0].Severity != api.SeverityError ||
			!strings.Contains(got[0].Text, "adress") || got[0].Subject != d.path {
			t.Fatalf("after a faulty one: %v", got)
		}
		time.Sleep(time.Minute)
		write("underley = 1\n")
		if again := problemsOf(t, d, api.ProblemReload); len(again) != 1 ||
			!strings.Contains(again[0].Text, "underley") {
			t.Errorf("after another faulty one: %v", again)
		}
		write(plain)
		if got := problemsOf(t, d, api.ProblemReload); len(got) > 0 {
			t.Errorf("after a good one: %v", got)
		}
	})
}

// The status shows a problem if the files that a configuration names keep something from working.
// A reload of a configuration without the fault resolves the problem.
func TestObstaclesShowInStatus(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		c := testConfig(t, []byte(spokeToml), t.TempDir())
		c.Obstacles = []string{"/etc/swanctl/swanctl.conf: it has no key"}
		d.reportObstacles(c)
		if got := problemsOf(t, d, api.ProblemConfiguration); len(got) != 1 ||
			got[0].Text != c.Obstacles[0] {
			t.Errorf("got %v", got)
		}
		c.Obstacles = nil
		d.reportObstacles(c)
		if got := problemsOf(t, d, api.ProblemConfiguration); len(got) > 0 {
			t.Errorf("left: %v", got)
		}
	})
}

// A group that does not exist keeps no traffic from flowing: only root can use the API, and the
// status says why.
func TestUnknownGroupOfTheAPI(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, log := newWorld(t), new(bytes.Buffer)
		p := w.platform()
		p.ListenAPI = func(path, group string) (net.Listener, error) {
			w.note("listen for " + group)
			if group != "" {
				return nil, fmt.Errorf("api_group: %w", api.ErrNoGroup)
			}
			return newPipeListener(), nil
		}
		c := testConfig(t, []byte(spokeToml), dir)
		c.Daemon.APIGroup = "operators"
		d := New(filepath.Join(dir, "cygnet.toml"), c, p, log)
		l, err := d.listenAPI()
		if err != nil || w.noted("listen for ") < 0 {
			t.Fatalf("%v\n%s", err, log)
		}
		l.Close()
		all := d.problems.All()
		if len(all) != 1 || all[0].Code != api.ProblemAPIGroup ||
			!strings.Contains(all[0].Text+all[0].Remedy, "operators") {
			t.Errorf("got %v", all)
		}
	})
}

// Those who may look have a socket of their own, beside the API's. Without their group there is
// none, and the status says why.
func TestGroupThatMayLook(t *testing.T) {
	dir := t.TempDir()
	for _, there := range []bool{true, false} {
		p, asked := newWorld(t).platform(), ""
		p.ListenAPI = func(path, group string) (net.Listener, error) {
			asked = path + " for " + group
			if !there {
				return nil, fmt.Errorf("find the group: %w", api.ErrNoGroup)
			}
			return newPipeListener(), nil
		}
		c := testConfig(t, []byte(spokeToml), dir)
		d := New(filepath.Join(dir, "cygnet.toml"), c, p, new(bytes.Buffer))
		if l := d.listenView(c.Daemon); l != nil || asked != "" {
			t.Errorf("without a group it listens: %q", asked)
		}
		c.Daemon.APIViewGroup = "operators"
		l := d.listenView(c.Daemon)
		if want := "/run/cygnet/view.sock for operators"; (l != nil) != there || asked != want {
			t.Errorf("listener %v, asked %q, want %q", l, asked, want)
		}
		if all := d.problems.All(); (len(all) == 0) != there ||
			!there && !strings.HasPrefix(all[0].Text, "api_view_group:") {
			t.Errorf("the problems are %v", all)
		}
	}
}

// The status shows what keeps the daemon from its work: in the host's network, in charon, and in a
// tunnel that is there and cannot be kept as configured.
func TestReasonsAreInStatus(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.tunnels["gre1"].states <- tunnel.State{
			Index: 7,
			Up:    true,
			Fault: "there is no device eth7",
		}
		w.mu.Lock()
		w.refused = map[string]string{"gre1": "unknown option: mobikee"}
		w.network = []preflight.Finding{{
			About:     preflight.AboutNetwork,
			Severity:  preflight.Error,
			Interface: "gre1",
			Text:      "this host has no device eth7",
		}}
		w.mu.Unlock()
		synctest.Wait()
		s, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if i := s.Interfaces[0]; i.Index != 7 || !i.Up || i.Error != "there is no device eth7" {
			t.Errorf("the interface: %+v", i)
		}
		var got []string
		for _, p := range s.Problems {
			got = append(got, fmt.Sprintf("%s %s %s", p.Code, p.Severity, p.Interface))
		}
		// The finding about the network says the same as the tunnel's fault, and is left out.
		for _, want := range []string{"interface-failed error gre1", "profile-refused error gre1"} {
			if !slices.Contains(got, want) {
				t.Errorf("%s is not in %q", want, got)
			}
		}
		if slices.Contains(got, "network error gre1") {
			t.Errorf("said twice: %q", got)
		}
		w.tunnels["gre1"].states <- tunnelThere
		synctest.Wait()
		if got := problemsOf(t, d, api.ProblemNetwork); len(got) != 1 {
			t.Errorf("with the tunnel there: %v", got)
		}
		if got := problemsOf(t, d, api.ProblemInterface); len(got) != 0 {
			t.Errorf("with the tunnel there: %v", got)
		}
	})
}

// The status shows a problem for as long as the state cannot be saved.
func TestStateThatCannotBeSavedShowsInStatus(t *testing.T) {
	dir := t.TempDir()
	place := filepath.Join(dir, "state")
	// With a file in its place, the folder cannot be made.
	if err := os.WriteFile(place, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := New(
		filepath.Join(dir, "cygnet.toml"),
		testConfig(t, []byte(spokeToml), place),
		newWorld(t).platform(),
		io.Discard,
	)
	d.state.saveLast()
	if all := d.problems.All(); len(all) != 1 || all[0].Code != api.ProblemState {
		t.Fatalf("got %v", all)
	}
	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}
	d.state.saveLast()
	if all := d.problems.All(); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
}
