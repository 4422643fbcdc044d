package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/kernel"
	"cygnet/nhrpd/api"
)

// Scripts learn from the exit code what happened, and people from the message on standard error.
func TestExitCodes(t *testing.T) {
	socket := start(t, &daemon{status: spoke()})
	failing := start(t, &daemon{err: errors.New("it is stopping"), leaveErr: errors.New("charon hangs")})
	unknown := start(t, &daemon{leaveErr: api.ErrNoInterface})
	dir := t.TempDir()
	write(t, dir+"/bad.toml", "[interface.gre1]\nunderley = \"eth0\"\n")
	write(t, dir+"/good.toml", "[interface.gre1]\naddress = \"10.255.0.1/24\"\nunderlay = \"eth0\"\nprotection = \"none\"\n")

	for _, test := range []struct {
		args   string
		code   int
		stderr string // part of the message; empty: there is none
	}{
		{"--socket " + socket + " status", exitOK, ""},
		{"status --socket " + socket, exitOK, ""},
		{"status -socket=" + socket + " -json", exitOK, ""},
		{"leave --socket " + socket + " gre1 --json", exitOK, ""},
		{"snmp figures --socket " + socket, exitOK, ""},
		{"snmp figures --socket " + dir + "/none", exitNotRunning, "not running"},
		{"snmp walk", exitUsage, `no argument or figures, found "walk"`},
		{"help", exitOK, ""},
		{"help leave", exitOK, ""},
		{"--help", exitOK, ""},
		{"leave --help", exitOK, ""},
		{"-h leave", exitOK, ""},
		{"version --socket " + dir + "/none", exitOK, ""},
		{"--version --socket " + dir + "/none", exitOK, ""},
		{"--version status", exitUsage, "--version takes no command"},
		{"check --offline " + dir + "/good.toml", exitOK, ""},
		{"check --json --offline " + dir + "/good.toml", exitOK, ""},
		{"check " + dir + "/good.toml", exitWrong, ""}, // the machine has no GRE
		{"check --json " + dir + "/good.toml", exitWrong, ""},

		{"check " + dir + "/bad.toml", exitError, `interface.gre1.underley: unknown key; did you mean "underlay"?`},
		{"check " + dir + "/none.toml", exitError, "no such file"},
		{"status --socket " + failing, exitError, "the daemon gives no status: it is stopping"},
		{"leave --socket " + failing, exitError, "leave: charon hangs"},

		{"", exitUsage, "no command given"},
		{"--socket " + socket, exitUsage, "no command given"},
		{"shortcut --socket " + socket, exitUsage, `there is no command "shortcut"; did you mean "shortcuts"?`},
		{"frobnicate", exitUsage, `there is no command "frobnicate"`},
		{"help frobnicate", exitUsage, `there is no command "frobnicate"`},
		{"status --jsonn", exitUsage, "-jsonn"},
		{"status --socket", exitUsage, "socket"},
		{"routes 10.0.0.1", exitUsage, "routes takes no argument"},
		{"routes --sort prefix", exitUsage, "routes takes no --sort"},
		{"status --wide", exitUsage, "status takes no --wide"},
		{"peers --sort color --socket " + socket, exitUsage, `there is no column "color" to sort by; there are interface, protocol, nbma, state,`},
		{"peers a b", exitUsage, "peers takes one argument"},
		{"status gre1", exitUsage, `status takes no argument, found "gre1"`},
		{"leave gre1 gre2", exitUsage, "leave takes one argument"},

		{"status --socket " + dir + "/none", exitNotRunning, "cygnetd is not running: there is no socket at " + dir + "/none"},
		{"leave --socket " + dir + "/none", exitNotRunning, "cygnetd is not running"},
		{"leave gre9 --socket " + unknown, exitRefused, "no such interface"},
	} {
		t.Run(test.args, func(t *testing.T) {
			code, stdout, stderr := cygnet(strings.Fields(test.args)...)
			if code != test.code {
				t.Errorf("code %d, want %d", code, test.code)
			}
			if test.stderr == "" && stderr != "" || !strings.Contains(stderr, test.stderr) {
				t.Errorf("stderr: %q, want %q", stderr, test.stderr)
			}
			done := code == exitOK || code == exitWrong || code == exitWarning
			if done != (stdout != "") {
				t.Errorf("stdout: %q", stdout)
			}
		})
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Missing permission for a socket or file has an exit code of its own, whoever runs the tests.
func TestExitCodeOfPermission(t *testing.T) {
	for _, err := range []error{
		api.ErrPermission, &os.PathError{Op: "open", Path: "x", Err: os.ErrPermission},
	} {
		if got := exitCode(err); got != exitRefused {
			t.Errorf("%v: %d", err, got)
		}
	}
}

// With --json every command writes the API's types, also for an empty list.
func TestJSON(t *testing.T) {
	full, empty := start(t, &daemon{status: spoke()}), start(t, &daemon{status: &api.Status{}})
	for command, into := range map[string]any{
		"status": &api.Status{}, "peers": &[]api.Peer{}, "bindings": &[]api.Binding{},
		"shortcuts": &[]api.Shortcut{}, "nhs": &[]api.NHS{},
		"routes": &[]api.Route{}, "sas": &[]api.SA{}, "version": &versions{},
		"leave": &api.LeaveRequest{}, "drain": &api.DrainRequest{},
		"reload": &api.Reloaded{},
	} {
		for _, socket := range []string{full, empty} {
			code, out, errs := cygnet(command, "--json", "--socket", socket)
			d := json.NewDecoder(strings.NewReader(out))
			d.DisallowUnknownFields()
			if err := d.Decode(into); code != exitOK || err != nil {
				t.Errorf("%s: code %d, %v, %s\n%s", command, code, err, errs, out)
			}
			if strings.Contains(out, "null") {
				t.Errorf("%s: null in %s", command, out)
			}
		}
	}
}

// version shows the version of the program without a daemon, too, and the daemon's version if one
// runs.
func TestVersion(t *testing.T) {
	socket := start(t, &daemon{})
	_, out, _ := cygnet("version", "--socket", socket)
	if !strings.Contains(out, "cygnet  "+api.Version+" (go") ||
		!strings.Contains(out, "cygnetd "+api.Version+" (go") {
		t.Errorf("got %s", out)
	}
	_, out, _ = cygnet("version", "--socket", socket+"x")
	if !strings.Contains(out, "cygnetd unknown: cygnetd is not running") {
		t.Errorf("got %s", out)
	}
}

// If charon does not answer, the list of SAs says how old it is; in JSON each SA does.
func TestOldSAs(t *testing.T) {
	s := spoke()
	socket := start(t, &daemon{status: s})
	if _, out, _ := cygnet("sas", "--socket", socket); strings.Contains(out, "does not answer") {
		t.Errorf("with charon: %s", out)
	}
	s = spoke()
	for i := range s.SAs {
		s.SAs[i].AsOf = ago(90 * time.Second)
	}
	socket = start(t, &daemon{status: s})
	_, out, _ := cygnet("sas", "--socket", socket)
	if !strings.HasPrefix(out, "strongSwan does not answer for 1m30s: this list is as old, and SAs in it may have ended.") || !strings.Contains(out, "REMOTE") {
		t.Errorf("without charon: %s", out)
	}
	if _, out, _ := cygnet("sas", "--json", "--socket", socket); !strings.Contains(out, `"as_of": "2026-03-01T11:58:30Z"`) {
		t.Errorf("without charon: %s", out)
	}
}

// reload tells what changed on each interface and what that interrupts. It fails where an interface
// that it started does not work, and where the file is faulty.
func TestReload(t *testing.T) {
	works := api.Reloaded{Interfaces: []api.ReloadedInterface{
		{Name: "gre1", Action: api.ReloadRenewed, Changes: []api.Change{
			{Key: "key", From: "42", To: "43", Interrupts: "traffic stops"},
			{Key: "the key in ipsec.psk_file", From: "(secret)", To: "(secret)"},
		}},
		{Name: "gre2", Action: api.ReloadRemoved},
	}}
	broken := api.Reloaded{Interfaces: []api.ReloadedInterface{
		{Name: "gre3", Action: api.ReloadAdded, Error: "no device eth7"},
	}}
	faulty := fmt.Errorf("line 3 (%w)", api.ErrRefused)
	for _, tt := range []struct {
		args   string
		daemon *daemon
		code   int
		says   string
	}{
		{"reload", &daemon{reloaded: works}, exitOK,
			"gre1  started anew on its tunnel: neighbours, routes and SAs stayed\n" +
				"  key: 43, before 42\n    interrupts: traffic stops\n" +
				"  the key in ipsec.psk_file: another one\n" +
				"gre2  removed, with a goodbye\n"},
		{"reload --dry-run", &daemon{reloaded: works}, exitOK,
			"gre2  would be removed, with a goodbye\nNothing has been changed.\n"},
		{"reload", &daemon{reloaded: broken}, exitWrong,
			"gre3  added\n  DOES NOT WORK: no device eth7\n"},
		{"reload", &daemon{leaveErr: faulty}, exitRefused, "line 3"},
	} {
		args := append(strings.Fields(tt.args), "--socket", start(t, tt.daemon))
		code, out, errs := cygnet(args...)
		if code != tt.code || !strings.Contains(out+errs, tt.says) {
			t.Errorf("%s: code %d, want %d, says\n%s%s", tt.args, code, tt.code, out, errs)
		}
	}
}

// drain passes the interface to the daemon, waits for the clients with --for, and tells how many
// are left.
func TestDrain(t *testing.T) {
	static := api.Binding{Static: true}
	for _, tt := range []struct {
		args, passed string
		stay         []api.Binding
		code         int
		says         string
	}{
		{"drain", " false", []api.Binding{{}, static}, exitOK, "Clients left: 1. "},
		{"drain gre1", "gre1 false", []api.Binding{static}, exitOK, "No client is left"},
		{"drain --for 1m", " false", nil, exitOK, "No client is left"},
		{"drain --for 10ms", " false", []api.Binding{{}}, exitWarning, "Clients left: 1. "},
		{"drain --off gre1", "gre1 true", nil, exitOK, "Clients are taken again."},
		{"drain --json gre1", "gre1 false", nil, exitOK, `"interface": "gre1"`},
	} {
		d := &daemon{
			status: &api.Status{Interfaces: []api.Interface{{Name: "gre1"}}},
			stay:   tt.stay,
		}
		code, out, errs := cygnet(append(strings.Fields(tt.args), "--socket", start(t, d))...)
		if code != tt.code || !strings.Contains(out, tt.says) ||
			!slices.Equal(d.drained, []string{tt.passed}) {
			t.Errorf("%s: code %d, passed %q, says %s%s", tt.args, code, d.drained, out, errs)
		}
	}
	if code, _, errs := cygnet("drain", "--off", "--for", "1m"); code != exitUsage {
		t.Errorf("--off with --for: code %d, %s", code, errs)
	}
}

// While drain waits, it tells how many clients are left each time that their number changes. With
// --json it tells only the result.
func TestDrainShowsProgress(t *testing.T) {
	defer func(before time.Duration) { drainInterval = before }(drainInterval)
	drainInterval = time.Millisecond
	for args, want := range map[string]string{
		"drain --for 1m":        "clients left: 3 …\nclients left: 1 …\nclients left: 2 …\n",
		"drain --for 1m --json": "",
	} {
		d := &daemon{
			status: &api.Status{Interfaces: []api.Interface{{Name: "gre1"}}},
			going:  []int{3, 3, 1, 1, 2, 0},
		}
		code, out, errs := cygnet(append(strings.Fields(args), "--socket", start(t, d))...)
		if code != exitOK || errs != want || strings.Contains(out, "clients left") {
			t.Errorf("%s: code %d, want the progress\n%sgot\n%sand says\n%s",
				args, code, want, errs, out)
		}
	}
}

// leave passes the interface to the daemon and tells the user what the daemon did.
func TestLeave(t *testing.T) {
	d := &daemon{}
	socket := start(t, d)
	_, one, _ := cygnet("leave", "gre1", "--socket", socket)
	_, all, _ := cygnet("leave", "--socket", socket)
	if diff := cmp.Diff([]string{"gre1", ""}, d.left); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if !strings.HasPrefix(one, "Said goodbye on gre1: ") || !strings.HasPrefix(all, "Said goodbye on all interfaces: ") {
		t.Errorf("got %q and %q", one, all)
	}
	// with runs leave against a daemon with such a status.
	with := func(charon bool, gre2 api.Interface, args ...string) string {
		socket := start(t, &daemon{
			status: &api.Status{
				StrongSwan: api.StrongSwan{Connected: charon},
				Interfaces: []api.Interface{{Name: "gre1", Left: true}, gre2},
			},
		})
		code, out, errs := cygnet(append(args, "--socket", socket)...)
		if code != exitOK {
			t.Errorf("%q: code %d: %s", args, code, errs)
		}
		return out
	}
	if all := with(true, api.Interface{Name: "gre2"}, "leave"); !strings.HasPrefix(all, "Said goodbye on gre2: ") {
		t.Errorf("with gre2 alone active: got %q", all)
	}
	left := api.Interface{Name: "gre2", Left: true, Protected: true}
	if one := with(false, left, "leave", "gre2"); !strings.Contains(one,
		"SAs are NOT closed, since strongSwan does not answer") || strings.Contains(one, "SAs closed") {
		t.Errorf("without charon: got %q", one)
	}
	if one := with(true, left, "leave", "gre2"); !strings.Contains(one, "SAs closed") {
		t.Errorf("with charon: got %q", one)
	}
	if all := with(true, left, "leave"); !strings.HasPrefix(all, "Nothing to say goodbye on: ") {
		t.Errorf("with none active: got %q", all)
	}
}

// check reports what the daemon would report, as text or in JSON. For a valid file it also lists
// the interfaces.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	bad, good := filepath.Join(dir, "bad.toml"), filepath.Join(dir, "good.toml")
	write(t, bad, "[interface.gre1]\naddress = \"10.255.0.0/24\"\nunderley = \"eth0\"\nprotection = \"none\"\n")
	write(t, good, "[interface.gre1]\naddress = \"10.255.0.1/24\"\nunderlay = \"eth0\"\nprotection = \"none\"\n")

	_, out, errs := cygnet("check", good)
	golden(t, "testdata/check-good.txt", strings.ReplaceAll(out+errs, dir, "DIR"))
	_, out, errs = cygnet("check", bad)
	golden(t, "testdata/check-bad.txt", strings.ReplaceAll(out+errs, dir, "DIR"))
	_, out, _ = cygnet("check", good, "--json")
	golden(t, "testdata/check-good.json", strings.ReplaceAll(out, dir, "DIR"))
	code, out, _ := cygnet("check", bad, "--json")
	golden(t, "testdata/check-bad.json", strings.ReplaceAll(out, dir, "DIR"))
	if code != exitError {
		t.Errorf("code %d", code)
	}
}

// The exit code of check is 0 only on a host where the daemon can do its work with the file.
func TestCheckExitCode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	write(t, file, "[interface.gre1]\naddress = \"10.255.0.1/24\"\nunderlay = \"ppp0\"\nprotection = \"none\"\n")
	whole := machine
	whole.Probe = func(bool) ([]kernel.Feature, error) { return nil, nil }
	for _, test := range []struct {
		device string
		want   int
		says   string
	}{
		{"eth0", exitOK, "ADVICE FOR THIS HOST\n  * kernel: net.ipv4.ip_forward"},
		{"ppp0", exitWarning, "WARNINGS FOR THIS HOST\n  * network: gre1: there is no device ppp0 yet"},
		{"eth7", exitWrong, "WRONG ON THIS HOST\n  * network: gre1: this host has no device eth7, so nothing can be sent: set underlay to one of eth0"},
	} {
		write(t, file, "[interface.gre1]\naddress = \"10.255.0.1/24\"\nunderlay = \""+test.device+"\"\nprotection = \"none\"\n")
		var out, errs strings.Builder
		code := run(t.Context(), []string{"check", file}, &out, &errs, time.Now, whole, alone)
		if code != test.want || !strings.Contains(out.String(), test.says) || errs.String() != "" {
			t.Errorf("%s: code %d, want %d\n%s%s", test.device, code, test.want, &out, &errs)
		}
	}
}

// The help has every command and fits into a terminal.
func TestHelp(t *testing.T) {
	_, out, _ := cygnet("help")
	golden(t, "testdata/help.txt", out)
	for _, c := range commands() {
		_, out, _ := cygnet("help", c.name)
		if !strings.HasPrefix(out, "usage: cygnet [--socket PATH] [--json] "+c.name) {
			t.Errorf("%s: %q", c.name, out)
		}
		for line := range strings.Lines(out) {
			if len(line) > 121 {
				t.Errorf("%s: a line of %d characters: %s", c.name, len(line), line)
			}
		}
	}
}

// An interrupt ends the program even if a daemon accepts the connection and never answers.
func TestInterrupt(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if conn, err := l.Accept(); err == nil {
			defer conn.Close()
			cancel()
			<-t.Context().Done()
		}
	}()
	var out, errs strings.Builder
	if code := run(
		ctx, []string{"status", "--socket", l.Addr().String()}, &out, &errs, time.Now, machine,
		alone,
	); code != exitError {
		t.Errorf("code %d: %s", code, &errs)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// It is an error if the output cannot be written.
func TestFullDisk(t *testing.T) {
	var errs strings.Builder
	if code := run(
		t.Context(), []string{"help"}, full{}, &errs, time.Now, machine, alone,
	); code != exitError || !strings.Contains(errs.String(), "no space left") {
		t.Errorf("code %d: %s", code, &errs)
	}
}
