// Package hooks runs an administrator's programs when something happens, such as a peer that comes
// up. It reads the daemon's events over the API, in a process of its own: the programs have neither
// the daemon's capabilities nor a way to hold the daemon up.
//
// The programs run one after another, each for a limited time. Events that come meanwhile wait in a
// queue of limited length; what does not fit is counted and reported. The number of the last event
// that was handled is saved, so that a restart goes on with the next one.
package hooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"cygnet/nhrpd/api"
)

// Bounds on what hooks may cost.
const (
	QueueLength = 1024             // events that wait
	RunTime     = 10 * time.Second // of one program for one event
	mostOutput  = 4096             // bytes of a program's output that are logged
	saveEvery   = time.Second      // how often the position is saved at most
)

// names has the hooks that a kind of event runs.
var names = map[api.EventKind][]string{
	api.EventPeerSecured:      {"peer-up"},
	api.EventPeerLost:         {"peer-down"},
	api.EventPeerEnded:        {"peer-down"},
	api.EventPeerClosed:       {"peer-down"},
	api.EventRegistered:       {"registered"},
	api.EventClientRegistered: {"registered"},
	api.EventRefused:          {"refused"},
	api.EventRejected:         {"refused"},
	api.EventSARefused:        {"refused"},
	api.EventShortcutUp:       {"shortcut-up"},
	api.EventShortcutDown:     {"shortcut-down"},
	api.EventHubLost:          {"hub-lost"},
	api.EventHubBack:          {"hub-back", "registered"},
}

// Input is what a program gets on its standard input, as one JSON object: the name of the hook, and
// the event with all its fields.
type Input struct {
	Hook string `json:"hook"`
	api.Event
}

// Runner runs the programs of a folder.
type Runner struct {
	Dir   string        // where the programs are
	State string        // the file with the position; empty: none is kept
	Time  time.Duration // of one program for one event
	Log   *slog.Logger

	dropped atomic.Uint64 // events for which the queue had no room and that are not reported
}

// position is where to go on reading.
type position struct {
	Journal string `json:"journal"`
	Number  uint64 `json:"number"`
}

// job is an event that waits for its programs.
type job struct {
	event api.Event
	at    position
}

// Run runs the programs for what happens, until the context ends. It begins after the last event
// that was handled or, the first time, with what happens from now on. It returns an error if the
// daemon cannot be asked at the beginning.
func (r *Runner) Run(ctx context.Context, client *api.Client) error {
	q := api.EventQuery{New: true}
	at, err := r.load()
	if err != nil {
		return err
	}
	if at.Number > 0 {
		q = api.EventQuery{After: at.Number, Journal: at.Journal}
	}
	jobs := make(chan job, QueueLength)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.work(ctx, jobs)
	}()
	err = client.Follow(ctx, q, func(e api.Event, journal string) error {
		if e.Event == api.EventGap {
			r.Log.Warn("some events have no hooks run", "reason", e.Text)
			return nil
		}
		select {
		case jobs <- job{e, position{journal, e.Number}}:
		default:
			r.dropped.Add(1)
		}
		return nil
	})
	close(jobs)
	<-ended
	return err
}

// reportDropped logs how many events the queue had no room for since the last report.
func (r *Runner) reportDropped() {
	if n := r.dropped.Swap(0); n > 0 {
		r.Log.Warn("the hooks were too slow: some events have no hooks run", "events", n)
	}
}

// work runs the programs for one event after another, and saves how far it got.
func (r *Runner) work(ctx context.Context, jobs <-chan job) {
	var done, saved position
	var savedAt time.Time
	save := func() {
		if done == saved {
			return
		}
		if err := r.save(done); err != nil {
			r.Log.Error("a restart will not know which events were handled", "error", err)
		}
		saved, savedAt = done, time.Now()
		r.Log.Debug("the position is saved", "event", done.Number)
	}
	defer r.reportDropped()
	defer func() { save() }()
	for j := range jobs {
		if ctx.Err() != nil {
			return // what waits is handled after the restart
		}
		for _, hook := range names[j.event.Event] {
			r.runAll(ctx, hook, &j.event)
		}
		r.reportDropped()
		if ctx.Err() != nil {
			return
		}
		done = j.at
		if len(jobs) == 0 || time.Since(savedAt) >= saveEvery {
			save()
		}
	}
}

// runAll runs all programs for an event.
func (r *Runner) runAll(ctx context.Context, hook string, e *api.Event) {
	programs, err := r.programs()
	if err != nil {
		r.Log.Error("no hooks are run", "error", err)
		return
	}
	input, err := json.Marshal(Input{hook, *e})
	if err != nil {
		r.Log.Error("no hooks are run", "hook", hook, "error", err)
		return
	}
	for _, program := range programs {
		if ctx.Err() != nil {
			return
		}
		output, err := r.run(ctx, program, hook, input)
		attrs := []any{"program", program, "hook", hook, "event", e.Number}
		if output != "" {
			attrs = append(attrs, "output", output)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			r.Log.Warn("a hook failed", append(attrs, "error", err)...)
		default:
			r.Log.Info("hook run", attrs...)
		}
	}
}

// errSlow is why a program was killed.
var errSlow = errors.New("it took too long and was killed")

// run runs one program, and kills it with all that it started when its time is over. It returns the
// beginning of what the program printed.
func (r *Runner) run(
	ctx context.Context, program, hook string, input []byte,
) (output string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.Time, errSlow)
	defer cancel()
	out := &beginning{}
	cmd := exec.CommandContext(ctx, program, hook)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "CYGNET_HOOK="+hook)
	cmd.Stdin = bytes.NewReader(append(input, '\n'))
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for what the program left running with its output
	err = cmd.Run()
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(out.text), "?")), err
}

// beginning keeps the beginning of what is written to it.
type beginning struct{ text []byte }

// Write keeps as much of p as there is room for, and takes all of it.
func (b *beginning) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), mostOutput-len(b.text))]...)
	return len(p), nil
}

// proper is the name of a program that is run. Others, such as those that editors and package
// managers leave, are not.
var proper = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// programs returns the programs, in the order of their names. A program that others than its owner
// can change is not run, and none is in a folder where others could put one.
func (r *Runner) programs() ([]string, error) {
	folder, err := os.Stat(r.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("find the folder of the hooks: %w", err)
	case folder.Mode()&0o022 != 0:
		return nil, fmt.Errorf("others than its owner can put programs into %s (chmod go-w)",
			r.Dir)
	}
	entries, err := os.ReadDir(r.Dir)
	if err != nil {
		return nil, fmt.Errorf("read the folder of the hooks: %w", err)
	}
	var all []string
	for _, e := range entries {
		path := filepath.Join(r.Dir, e.Name())
		info, err := os.Stat(path)
		if err != nil || !proper.MatchString(e.Name()) || !info.Mode().IsRegular() ||
			info.Mode()&0o111 == 0 {
			continue
		}
		if info.Mode()&0o022 != 0 {
			r.Log.Error("a hook is not run: others than its owner can change it (chmod go-w)",
				"program", path)
			continue
		}
		all = append(all, path)
	}
	return all, nil
}

// load reads the position. It is zero if none was saved.
func (r *Runner) load() (position, error) {
	var p position
	if r.State == "" {
		return p, nil
	}
	text, err := os.ReadFile(r.State)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, nil
	case err != nil:
		return p, fmt.Errorf("read which events were handled: %w", err)
	}
	if err := json.Unmarshal(text, &p); err != nil {
		r.Log.Warn("it is not known which events were handled: going on from now",
			"file", r.State, "error", err)
		return position{}, nil
	}
	return p, nil
}

// save writes the position, whole or not at all.
func (r *Runner) save(p position) error {
	if r.State == "" {
		return nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.State+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(r.State+".new", r.State)
}
