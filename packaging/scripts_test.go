package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The packages' scripts run these commands, in this order. The command "running" reports
// whether the daemon runs.
func TestScripts(t *testing.T) {
	reload := "systemctl daemon-reload"
	running := "systemctl is-active --quiet cygnetd.service"
	shown := "systemctl is-active --quiet cygnet-web.service"
	group := "systemd-sysusers cygnet.conf"
	web := "systemctl stop cygnet-web.service"
	hooks := "systemctl stop cygnet-hooks.service"
	for _, c := range []struct {
		rule    string
		script  string
		args    string
		running bool
		does    []string
		says    string
	}{
		{"a first installation starts and enables nothing", "deb/postinst", "configure ", false,
			[]string{group, reload}, "nothing is started or enabled"},
		{"an upgrade restarts a daemon that runs", "deb/postinst", "configure 1.0", true,
			[]string{group, reload, running, "deb-systemd-invoke restart cygnetd.service",
				shown, "deb-systemd-invoke restart cygnet-web.service"}, ""},
		{"an upgrade does not start one that does not", "deb/postinst", "configure 1.0", false,
			[]string{group, reload, running, shown}, ""},
		{"an upgrade does not say goodbye", "deb/prerm", "upgrade 1.1", true, nil, ""},
		{"a removal says goodbye, then stops", "deb/prerm", "remove", true,
			[]string{web, running, "timeout 60 cygnet leave",
				"deb-systemd-invoke stop cygnetd.service", hooks, "timeout 60 cygnetd -leave"}, ""},
		{"a removal stops the hooks, and takes away what a daemon that failed left",
			"deb/prerm", "remove", false,
			[]string{web, running, hooks, "timeout 60 cygnetd -leave"}, ""},
		{"the unit is forgotten", "deb/postrm", "remove", false, []string{reload}, ""},
		{"an upgrade's postrm does nothing", "deb/postrm", "upgrade 1.1", true, nil, ""},

		{"a first installation starts and enables nothing", "rpm/post", "1", false,
			[]string{group, reload}, "nothing is started or enabled"},
		{"an upgrade's post leaves the restart to postun", "rpm/post", "2", true,
			[]string{group, reload}, ""},
		{"an upgrade does not say goodbye", "rpm/preun", "1", true, nil, ""},
		{"a removal says goodbye, then disables and stops", "rpm/preun", "0", true,
			[]string{running, "timeout 60 cygnet leave", "systemctl --no-reload disable --now cygnetd.service cygnet-hooks.service cygnet-web.service", "timeout 60 cygnetd -leave"}, ""},
		{"a removal takes away what a daemon that does not run left", "rpm/preun", "0", false,
			[]string{running, "systemctl --no-reload disable --now cygnetd.service cygnet-hooks.service cygnet-web.service", "timeout 60 cygnetd -leave"}, ""},
		{"an upgrade restarts a daemon that runs", "rpm/postun", "1", true,
			[]string{reload, "systemctl try-restart cygnetd.service cygnet-web.service"}, ""},
		{"the unit is forgotten", "rpm/postun", "0", false, []string{reload}, ""},
	} {
		t.Run(c.script+" "+c.args+": "+c.rule, func(t *testing.T) {
			does, says := script(t, c.script, strings.Split(c.args, " "), c.running)
			if diff := cmp.Diff(c.does, does); diff != "" {
				t.Errorf("wanted (-), done (+):\n%s", diff)
			}
			if (c.says == "") != (says == "") || !strings.Contains(says, c.says) {
				t.Errorf("it says %q, want %q", says, c.says)
			}
		})
	}
}

// A goodbye that fails is reported, and the removal of the package continues.
func TestRemovalGoesOnWithoutGoodbye(t *testing.T) {
	t.Setenv("GOODBYE", "fails")
	for name, args := range map[string]string{"deb/prerm": "remove", "rpm/preun": "0"} {
		does, says := script(t, name, []string{args}, true)
		if does[len(does)-1] != "timeout 60 cygnetd -leave" || !strings.Contains(says, "goodbye failed") ||
			!strings.Contains(says, "may be left") {
			t.Errorf("%s does %q and says %q", name, does, says)
		}
	}
}

// In a root that is not the running system's, the scripts do nothing.
func TestScriptsLeaveTheSystemAloneForAForeignRoot(t *testing.T) {
	t.Setenv("DPKG_ROOT", "/nowhere")
	for _, call := range []string{
		"deb/postinst configure ", "deb/prerm remove", "deb/postrm remove",
	} {
		words := strings.Split(call, " ")
		if does, _ := script(t, words[0], words[1:], true); len(does) > 0 {
			t.Errorf("%s does %q", call, does)
		}
	}
}

// script runs a maintainer script with stand-ins for the programs that it calls. It returns the
// calls and the output.
func script(t *testing.T, name string, args []string, running bool) (does []string, says string) {
	t.Helper()
	bin := t.TempDir()
	log := filepath.Join(bin, "log")
	standIn := "#!/bin/sh\necho \"${0##*/} $*\" >>" + log + "\n"
	for program, end := range map[string]string{
		"systemctl":          "[ \"$1\" != is-active ] || [ -n \"$RUNNING\" ]\n",
		"systemd-sysusers":   "",
		"deb-systemd-invoke": "",
		"timeout":            "[ -z \"$GOODBYE\" ]\n",
	} {
		if err := os.WriteFile(
			filepath.Join(bin, program), []byte(standIn+end), 0o755,
		); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/bin/sh", append([]string{"-u", "scripts/" + name}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+bin+":/usr/bin:/bin")
	if running {
		cmd.Env = append(cmd.Env, "RUNNING=1")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	calls, err := os.ReadFile(log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(calls)) {
		does = append(does, strings.TrimSpace(line))
	}
	return does, string(out)
}
