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
	Env    []string // further variables of its environment, from the next start on
	router *Router
	notify *net.UnixConn // what it tells its service manager
}

// Where the daemon has its files on every router: the defaults.
const (
	CygnetConfig = "/etc/cygnet/cygnet.toml"
	CygnetSocket = "/run/cygnet/cygnet.sock"
	notifySocket = "/run/notify.sock"
)

// Cygnetd starts the daemon with a configuration (empty: the one that is there) and waits until it says that it is ready.
func (r *Router) Cygnetd(config string) *Cygnetd {
	r.net.Helper()
	d := r.LaunchCygnetd(config)
	d.AwaitReady()
	return d
}

// LaunchCygnetd is Cygnetd without waiting.
func (r *Router) LaunchCygnetd(config string) *Cygnetd {
	r.net.Helper()
	if config != "" {
		r.WriteFile(CygnetConfig, 0o640, config)
	}
	d := &Cygnetd{router: r}
	d.Launch()
	return d
}

// Start starts the daemon again after it ended, and waits until it is ready.
func (d *Cygnetd) Start() {
	d.router.net.Helper()
	d.Launch()
	d.AwaitReady()
}

// Launch is Start without waiting.
func (d *Cygnetd) Launch() {
	t := d.router.net
	t.Helper()
	d.listen()
	env := []string{"NOTIFY_SOCKET=" + notifySocket, "RUNTIME_DIRECTORY=/run/cygnet", "STATE_DIRECTORY=/var/lib/cygnet"}
	env = append(env, d.Env...)
	d.Process = d.router.Node.Start("cygnetd", env, t.binary("cygnetd"), "-config", CygnetConfig)
}

// Guard runs the daemon as the unit does that guards the tunnels at boot, with the configuration that is there.
func (r *Router) Guard() *Process {
	r.net.Helper()
	return r.Node.Start("cygnetd-guard", nil, r.net.binary("cygnetd"), "-config", CygnetConfig, "-guard")
}

// LeaveStopped runs the daemon as the removal of the package does, to take away what one that was stopped left.
func (r *Router) LeaveStopped() (string, error) {
	r.net.Helper()
	return r.Try(r.net.binary("cygnetd"), "-config", CygnetConfig, "-leave")
}

// listen opens the service manager's socket anew, so that nothing is left of an earlier run.
func (d *Cygnetd) listen() {
	t := d.router.net
	t.Helper()
	if d.notify != nil {
		d.notify.Close()
	}
	path := d.router.Path(notifySocket)
	os.Remove(path)
	var err error
	if d.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		t.Fatalf("%s: %v", d.router.Name, err)
	}
	t.Cleanup(func() { d.notify.Close() })
}

// AwaitReady waits for READY=1, as systemd does.
func (d *Cygnetd) AwaitReady() {
	t := d.router.net
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	buf := make([]byte, 4096)
	for time.Now().Before(deadline) {
		if !d.Alive() {
			t.Fatalf("cygnetd on %s ended before it was ready: %v\n%s", d.router.Name, d.err, d.Output())
		}
		d.notify.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := d.notify.Read(buf)
		if err == nil && strings.Contains("\n"+string(buf[:n])+"\n", "\nREADY=1\n") {
			return
		}
	}
	t.Fatalf("cygnetd on %s is not ready after 30 s:\n%s", d.router.Name, d.Output())
}

// Cygnet runs the command line on the router and returns what it prints.
func (r *Router) Cygnet(args ...string) string {
	r.net.Helper()
	out, err := r.TryCygnet(args...)
	if err != nil {
		r.net.Fatalf("%v\n%s", err, out)
	}
	return out
}

// Exit codes of cygnet status for a router that works only in part; the output is whole then.
const (
	statusWrong   = 5
	statusWarning = 6
)

// TryCygnet is Cygnet for a command that may fail. That status found something wrong is no failure of the command.
func (r *Router) TryCygnet(args ...string) (string, error) {
	r.net.Helper()
	out, err := r.Try(r.net.binary("cygnet"), args...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && slices.Contains(args, "status") && (exit.ExitCode() == statusWrong || exit.ExitCode() == statusWarning) {
		return out, nil
	}
	return out, err
}

// StatusCode runs cygnet status and returns its exit code with what it printed; -1: it did not run.
func (r *Router) StatusCode() (int, string) {
	r.net.Helper()
	out, err := r.Try(r.net.binary("cygnet"), "status")
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, out
	case errors.As(err, &exit):
		return exit.ExitCode(), out
	}
	return -1, out
}

// CygnetJSON decodes what the daemon answers on its socket, which is what "cygnet --json LIST" prints: to start that program
// for each look would take a guest longer than all else. Unlike the other methods it returns its error, for Await: the daemon
// may not be there yet.
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
		return fmt.Errorf("cygnetd on %s answers %s for %s: %s", r.Name, response.Status, list, answer)
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return fmt.Errorf("decode the %s of cygnetd on %s: %w\n%s", list, r.Name, err, answer)
	}
	return nil
}

// binary is the path of a program that 'make build' made.
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

// TryAsNobody runs one of our programs on the router as a user without any rights.
func (r *Router) TryAsNobody(program string, args ...string) (string, error) {
	r.net.Helper()
	return r.Try("setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", r.net.binary(program)}, args...)...)
}
