package nhrpd

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/filewatch"
)

// plainToml is a configuration that names no other file.
const plainToml = "[interface.gre1]\naddress = \"10.255.0.11/24\"\nunderlay = \"eth0\"\n" +
	"key = 42\nprotection = \"none\"\n"

// inPlainWorld is inWorld with plainToml, which is also in the daemon's file.
func inPlainWorld(t *testing.T, f func(t *testing.T, w *world, d *Daemon)) {
	t.Helper()
	inWorldOf(t, []byte(plainToml), func(t *testing.T, w *world, d *Daemon) {
		if err := os.WriteFile(d.path, []byte(plainToml), 0o600); err != nil {
			t.Error(err)
			return
		}
		w.tunnels["gre1"].states <- tunnelThere
		synctest.Wait()
		f(t, w, d)
	})
}

// rewrite replaces words in the daemon's configuration file.
func rewrite(t *testing.T, d *Daemon, words ...string) {
	t.Helper()
	text, err := os.ReadFile(d.path)
	if err != nil {
		t.Error(err)
		return
	}
	changed := strings.NewReplacer(words...).Replace(string(text))
	if changed == string(text) {
		t.Errorf("the file has none of %q:\n%s", words, text)
		return
	}
	if err := os.WriteFile(d.path, []byte(changed), 0o600); err != nil {
		t.Error(err)
	}
}

// A reload tells what it changes, and a dry run tells the same and changes nothing.
func TestReloadTellsWhatItChanges(t *testing.T) {
	inPlainWorld(t, func(t *testing.T, w *world, d *Daemon) {
		before := w.tunnels["gre1"]
		rewrite(t, d, "[interface.gre1]\n", "[interface.gre1]\nholding_time = \"90s\"\n")
		for _, dryRun := range []bool{true, false} {
			report, err := d.Reload(t.Context(), dryRun)
			if err != nil || len(report.Interfaces) != 1 || report.DryRun != dryRun {
				t.Errorf("%+v, %v", report, err)
				return
			}
			got := report.Interfaces[0]
			if got.Action != api.ReloadRenewed || len(got.Changes) != 1 ||
				got.Changes[0].Key != "holding_time" || got.Changes[0].To != "1m30s" {
				t.Errorf("dry run %v: %+v", dryRun, got)
			}
			if same := w.tunnels["gre1"] == before; same != dryRun {
				t.Errorf("dry run %v: the interface goes on unchanged: %v", dryRun, same)
			}
		}
		report, err := d.Reload(t.Context(), false)
		if err != nil || report.Interfaces[0].Action != api.ReloadKept {
			t.Errorf("again: %+v, %v", report, err)
		}
	})
}

// A reload names an interface that it starts and that does not work.
func TestReloadTellsWhatDoesNotWork(t *testing.T) {
	inPlainWorld(t, func(t *testing.T, w *world, d *Daemon) {
		text, err := os.ReadFile(d.path)
		if err != nil {
			t.Error(err)
		}
		text = append(text, "\n[interface.gre2]\naddress = \"10.254.0.1/24\"\n"+
			"underlay = \"eth1\"\nkey = 2\nprotection = \"none\"\n"...)
		if err := os.WriteFile(d.path, text, 0o600); err != nil {
			t.Error(err)
		}
		var report *api.Reloaded
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			report, err = d.Reload(t.Context(), false)
		}()
		synctest.Wait()
		w.tunnels["gre2"].faults <- errors.New("another device has the name gre2")
		<-ended
		if err != nil || len(report.Interfaces) != 2 {
			t.Errorf("%+v, %v", report, err)
			return
		}
		if got := report.Interfaces[0]; got.Action != api.ReloadKept || got.Error != "" {
			t.Errorf("the interface that was there: %+v", got)
		}
		if got := report.Interfaces[1]; got.Action != api.ReloadAdded ||
			!strings.Contains(got.Error, "another device") {
			t.Errorf("the new interface: %+v", got)
		}
	})
}

// The status tells that the file differs from what runs, whether the difference is one that a
// reload would apply or a fault, and no longer once they agree again.
func TestStatusTellsThatTheFileDiffers(t *testing.T) {
	inPlainWorld(t, func(t *testing.T, _ *world, d *Daemon) {
		look := func(want string) {
			t.Helper()
			time.Sleep(2 * filewatch.Interval)
			synctest.Wait()
			got := problemsOf(t, d, api.ProblemFileDiffers)
			if want == "" && len(got) > 0 ||
				want != "" && (len(got) != 1 || !strings.Contains(got[0].Text, want)) {
				t.Errorf("want %q, have %+v", want, got)
			}
		}
		look("")
		rewrite(t, d, "[interface.gre1]\n", "# a comment\n[interface.gre1]\n")
		look("")
		rewrite(t, d, "# a comment\n", "", "[interface.gre1]\n",
			"[interface.gre1]\nholding_time = \"90s\"\n")
		look("gre1: holding_time")
		rewrite(t, d, "holding_time", "holding_tome")
		look("would not start with it")
		rewrite(t, d, "holding_tome = \"90s\"\n", "")
		look("")
		rewrite(t, d, "[interface.gre1]\n", "[interface.gre1]\nholding_time = \"90s\"\n")
		look("gre1: holding_time")
		if _, err := d.Reload(t.Context(), false); err != nil {
			t.Error(err)
		}
		look("")
	})
}
