package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Cygnetd is the daemon on a router.
type Cygnetd struct {
	*Process
	Env    []string // variables that the next start adds to the daemon's environment
	Via    []string // a command that the next start runs the daemon by; empty: none
	router *Router
	notify *net.UnixConn // receives what the daemon tells its service manager
}

// Paths of the daemon's files on every router: the daemon's defaults. The lab itself listens on
// notifySocket, in the place of a service manager.
const (
	CygnetConfig = "/etc/cygnet/cygnet.toml"
	CygnetSocket = "/run/cygnet/cygnet.sock"
	notifySocket = "/run/notify.sock"
)

// Cygnetd starts the daemon with a configuration and waits until the daemon says that it is ready.
// If config is empty, the daemon uses the file that is there.
func (r *Router) Cygnetd(config string) *Cygnetd {
	r.net.Helper()
	d := r.LaunchCygnetd(config)
	d.AwaitReady()
	return d
}

// LaunchCygnetd is Cygnetd, but does not wait.
func (r *Router) LaunchCygnetd(config string) *Cygnetd {
	r.net.Helper()
	if config != "" {
		r.WriteFile(CygnetConfig, 0o640, config)
	}
	d := &Cygnetd{router: r}
	d.Launch()
	return d
}

// Start starts the daemon again after it ended, and waits until the daemon is ready.
func (d *Cygnetd) Start() {
	d.router.net.Helper()
	d.Launch()
	d.AwaitReady()
}

// Launch is Start, but does not wait.
func (d *Cygnetd) Launch() {
	t := d.router.net
	t.Helper()
	d.listen()
	env := []string{
		"NOTIFY_SOCKET=" + notifySocket,
		"RUNTIME_DIRECTORY=/run/cygnet",
		"STATE_DIRECTORY=/var/lib/cygnet",
	}
	env = append(env, d.Env...)
	args := append(d.Via[:len(d.Via):len(d.Via)],
		d.router.program("cygnetd"), "-config", CygnetConfig)
	d.Process = d.router.Node.Start("cygnetd", env, args[0], args[1:]...)
}

// Guard starts the daemon with -guard, as the unit does that guards the tunnels at boot. The daemon
// uses the configuration that is there.
func (r *Router) Guard() *Process {
	r.net.Helper()
	return r.Node.Start("cygnetd-guard", nil,
		r.program("cygnetd"), "-config", CygnetConfig, "-guard")
}

// LeaveStopped runs the daemon with -leave, as the removal of the package does. The daemon then
// takes away what an earlier daemon left when it was stopped.
func (r *Router) LeaveStopped() (string, error) {
	r.net.Helper()
	return r.Try(r.program("cygnetd"), "-config", CygnetConfig, "-leave")
}

// listen opens the service manager's socket anew, so that it holds no message of an earlier run.
func (d *Cygnetd) listen() {
	t := d.router.net
	t.Helper()
	if d.notify != nil {
		d.notify.Close()
	}
	path := d.router.Path(notifySocket)
	os.Remove(path)
	var err error
	if d.notify, err = net.ListenUnixgram(
		"unixgram",
		&net.UnixAddr{Name: path, Net: "unixgram"},
	); err != nil {
		t.Fatalf("%s: %v", d.router.Name, err)
	}
	t.Cleanup(func() { d.notify.Close() })
}

// AwaitReady waits until the daemon sends READY=1, as systemd does.
func (d *Cygnetd) AwaitReady() {
	t := d.router.net
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	buf := make([]byte, 4096)
	for time.Now().Before(deadline) {
		if !d.Alive() {
			t.Fatalf("cygnetd on %s ended before it was ready: %v\n%s",
				d.router.Name, d.err, d.Output())
		}
		d.notify.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := d.notify.Read(buf)
		if err == nil && strings.Contains("\n"+string(buf[:n])+"\n", "\nREADY=1\n") {
			return
		}
	}
	t.Fatalf("cygnetd on %s is not ready after 30 s:\n%s", d.router.Name, d.Output())
}

// Cygnet runs the command cygnet on the router and returns what the command prints.
func (r *Router) Cygnet(args ...string) string {
	r.net.Helper()
	out, err := r.TryCygnet(args...)
	if err != nil {
		r.net.Fatalf("%v\n%s", err, out)
	}
	return out
}

// StartCygnet starts the command cygnet on the router in the background. What the command prints is
// in the process's log.
func (r *Router) StartCygnet(label string, args ...string) *Process {
	r.net.Helper()
	return r.Node.Start(label, nil, r.program("cygnet"), args...)
}

// StartHooks starts cygnet hooks on the router without capabilities, as the unit does. The command
// keeps its position in the file state.
func (r *Router) StartHooks(state string) *Process {
	r.net.Helper()
	return r.Node.Start("hooks", nil, "setpriv", "--bounding-set=-all", "--inh-caps=-all",
		"--no-new-privs", r.program("cygnet"), "hooks", "--state", state)
}

// Monitor starts cygnet monitor on the router with these further arguments.
func (r *Router) Monitor(label string, args ...string) *Process {
	r.net.Helper()
	return r.Start(label, nil, r.program("cygnet"), append([]string{"monitor"}, args...)...)
}

// Exit codes of cygnet status for a router that does not work fully. The command prints the whole
// status with these codes, too.
const (
	statusWrong   = 5
	statusWarning = 6
)

// TryCygnet is Cygnet for a command that may fail: it returns the error. When status finds a
// problem, that is no failure of the command.
func (r *Router) TryCygnet(args ...string) (string, error) {
	r.net.Helper()
	out, err := r.Try(r.program("cygnet"), args...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && slices.Contains(args, "status") &&
		(exit.ExitCode() == statusWrong || exit.ExitCode() == statusWarning) {
		return out, nil
	}
	return out, err
}

// CygnetAs runs cygnet as a user without rights, in a group. It returns what cygnet printed.
func (r *Router) CygnetAs(group string, args ...string) (string, error) {
	r.net.Helper()
	return r.Try("setpriv", append([]string{"--reuid=65534", "--regid=" + group, "--clear-groups",
		"--no-new-privs", r.program("cygnet")}, args...)...)
}

// StatusCode runs cygnet status and returns its exit code, or -1 if it did not run, and what it
// printed.
func (r *Router) StatusCode() (int, string) {
	r.net.Helper()
	out, err := r.Try(r.program("cygnet"), "status")
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, out
	case errors.As(err, &exit):
		return exit.ExitCode(), out
	}
	return -1, out
}

// CygnetJSON asks the daemon's socket for a list and decodes the answer into v. The answer is what
// "cygnet --json LIST" prints, but a guest would spend more time on starting that program than on
// everything else. CygnetJSON returns an error instead of failing the test, since Await may call it
// before the daemon is there.
func (r *Router) CygnetJSON(v any, list string) error {
	r.net.Helper()
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.Path(CygnetSocket))
		},
	}}
	response, err := client.Get("http://cygnet/v1/" + list)
	if err != nil {
		return fmt.Errorf("ask cygnetd on %s for %s: %w", r.Name, list, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read the %s of cygnetd on %s: %w", list, r.Name, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("cygnetd on %s answers %s for %s: %s",
			r.Name, response.Status, list, answer)
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return fmt.Errorf("decode the %s of cygnetd on %s: %w\n%s", list, r.Name, err, answer)
	}
	return nil
}

// program returns the path of a program that the router runs.
func (r *Router) program(name string) string {
	r.net.Helper()
	if r.Programs != "" {
		return filepath.Join(r.Programs, name)
	}
	return r.net.binary(name)
}

// binary returns the path of a program that 'make build' made.
func (n *Net) binary(name string) string {
	n.Helper()
	root, err := Root()
	if err != nil {
		n.Fatalf("%v", err)
	}
	path := filepath.Join(root, "bin", name)
	if _, err := os.Stat(path); err != nil {
		n.Fatalf("%v: 'make build' makes it", err)
	}
	return path
}

// TryAsNobody runs one of the project's programs on the router as a user without any rights. It
// returns an error if the program fails.
func (r *Router) TryAsNobody(program string, args ...string) (string, error) {
	r.net.Helper()
	return r.Try("setpriv", append(
		[]string{"--reuid=65534", "--regid=65534", "--clear-groups", r.program(program)},
		args...)...)
}
