package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a program that runs on a node.
type Process struct {
	Name string
	Log  string // path of the file with the program's output, as seen from outside the node

	node   *Node
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // what cmd.Wait returned; valid once exited is closed
}

// command is exec.Command with an environment that does not depend on the user who runs the test.
func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LC_ALL=C",
		"HOME=/run",
		"TERM=dumb",
	}
	return cmd
}

// runFor is how long a command may take for which the test waits.
const runFor = 60 * time.Second

// Try runs a command on the node and returns what the command printed to its standard output and
// its standard error. It returns an error if the command fails.
func (n *Node) Try(name string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := n.Inside(cmd.Start); err != nil {
		return "", fmt.Errorf("start %s on %s: %w", name, n.Name, err)
	}
	timer := time.AfterFunc(runFor, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return out.String(), fmt.Errorf("%s: %s %s: %w", n.Name, name, strings.Join(args, " "), err)
	}
	return out.String(), nil
}

// Run is Try for a command that must succeed: it fails the test if the command fails.
func (n *Node) Run(name string, args ...string) string {
	n.net.Helper()
	out, err := n.Try(name, args...)
	if err != nil {
		n.net.Fatalf("%v\n%s", err, out)
	}
	return out
}

// RunJSON runs a command that prints JSON and decodes its output into v.
func (n *Node) RunJSON(v any, name string, args ...string) {
	n.net.Helper()
	out := n.Run(name, args...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		n.net.Fatalf("%s: %s %s prints no JSON that fits: %v\n%s",
			n.Name, name, strings.Join(args, " "), err, out)
	}
}

// Start runs a program on the node in the background. The program runs until it ends by itself, the
// test ends it, or the network ends. Start adds env to the usual environment.
func (n *Node) Start(label string, env []string, name string, args ...string) *Process {
	n.net.Helper()
	p := &Process{
		Name:   label,
		Log:    filepath.Join(n.dir, "log", label+".log"),
		node:   n,
		exited: make(chan struct{}),
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.net.Fatalf("%s: %v", n.Name, err)
	}
	defer log.Close()
	p.cmd = command(name, args...)
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.Inside(p.cmd.Start); err != nil {
		n.net.Fatalf("start %s on %s: %v", label, n.Name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	n.jobs = append(n.jobs, p)
	return p
}

// Alive reports whether the program still runs.
func (p *Process) Alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Pid returns the program's process ID. Nodes have no PID namespaces, so the ID is the same on
// every node.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// handles reports whether the program has installed a handler for a signal.
func (p *Process) handles(sig syscall.Signal) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(status), "\nSigCgt:")
	mask, err := strconv.ParseUint(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), 16, 64)
	return err == nil && mask>>(sig-1)&1 != 0
}

// Signal sends a signal to the program.
func (p *Process) Signal(sig syscall.Signal) {
	p.node.net.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.node.net.Fatalf("%s on %s: %v: %v", p.Name, p.node.Name, sig, err)
	}
}

// Terminate sends SIGTERM to the program and waits until it has ended.
func (p *Process) Terminate() {
	p.node.net.Helper()
	p.Signal(syscall.SIGTERM)
	p.Wait(20 * time.Second)
}

// Kill sends SIGKILL to the program and waits until it has ended.
func (p *Process) Kill() {
	p.node.net.Helper()
	p.Signal(syscall.SIGKILL)
	p.Wait(20 * time.Second)
}

// Wait waits until the program has ended and returns its exit code, or -1 if a signal ended it. It
// fails the test if the program still runs after that time.
func (p *Process) Wait(within time.Duration) int {
	p.node.net.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.node.net.Fatalf("%s on %s did not end within %v; its output:\n%s",
			p.Name, p.node.Name, within, p.Output())
		return -1
	}
}

// Output returns all that the program, and earlier programs with the same label, printed so far.
func (p *Process) Output() string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		p.node.net.Fatalf("%s: %v", p.node.Name, err)
	}
	return string(b)
}

// killAll ends every process in the node's network namespace. These include daemons that the
// programs of the test started.
func (n *Node) killAll() {
	for range 50 {
		pids := n.pids()
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
		// This process can wait for its own children only, so poll for the others.
		time.Sleep(10 * time.Millisecond)
	}
	for _, p := range n.jobs {
		<-p.exited
	}
	if pids := n.pids(); len(pids) > 0 {
		n.net.Errorf("%s: processes %v outlive SIGKILL", n.Name, pids)
	}
}

// pids lists the processes in the node's network namespace, without this process.
func (n *Node) pids() []int {
	if n.ns == nil {
		return nil
	}
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", n.ns.Fd()))
	if err != nil {
		n.net.Errorf("%s: %v", n.Name, err)
		return nil
	}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	var pids []int
	for _, link := range links {
		pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
		if ns, err := os.Readlink(link); err == nil && ns == name && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}
