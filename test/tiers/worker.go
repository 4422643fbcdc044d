package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// queue is the directory through which the host and the guests exchange jobs: waiting/NAME,
// running/GUEST/NAME, done/NAME.log and done/NAME.json.
type queue string

func (q queue) waiting(name string) string { return filepath.Join(string(q), "waiting", name) }
func (q queue) running(guest, name string) string {
	return filepath.Join(string(q), "running", guest, name)
}
func (q queue) log(name string) string    { return filepath.Join(string(q), "done", name+".log") }
func (q queue) result(name string) string { return filepath.Join(string(q), "done", name+".json") }

// result is what a guest reports about a job.
type result struct {
	Exit      int // the test program's exit code
	Wall      time.Duration
	Processor time.Duration // how long the guest's only processor was busy, with whatever program
	Guest     string        // host name of the guest, or the reason why there is no result
}

// work runs jobs until none waits that needs a kernel with this parameter. It runs inside a guest,
// or on the host for the jobs that boot machines. guest names the guest.
func work(ctx context.Context, q queue, kernel, guest string) error {
	for ctx.Err() == nil {
		name, j, err := q.claim(kernel, guest)
		if err != nil || name == "" {
			return err
		}
		r, err := run(ctx, j, q.log(name))
		if err != nil {
			return fmt.Errorf("run %s: %w", name, err)
		}
		if err := writeJSON(q.result(name), r); err != nil {
			return fmt.Errorf("report on %s: %w", name, err)
		}
	}
	return ctx.Err()
}

// claim takes the first job for the kernel that no other guest has taken. The name is empty if no
// job waits.
func (q queue) claim(kernel, guest string) (string, job, error) {
	names, err := q.waitingFor(kernel)
	if err != nil {
		return "", job{}, err
	}
	if err := os.MkdirAll(q.running(guest, ""), 0o755); err != nil {
		return "", job{}, fmt.Errorf("make the directory of guest %s: %w", guest, err)
	}
	for _, name := range names {
		switch err := os.Rename(q.waiting(name), q.running(guest, name)); {
		case errors.Is(err, fs.ErrNotExist):
			continue // another guest was faster
		case err != nil:
			return "", job{}, fmt.Errorf("claim %s: %w", name, err)
		}
		j, err := readJob(q.running(guest, name))
		if err != nil {
			return "", job{}, fmt.Errorf("read job %s: %w", name, err)
		}
		return name, j, nil
	}
	return "", job{}, nil
}

// waitingFor returns the names of the waiting jobs for a kernel, in order.
func (q queue) waitingFor(kernel string) ([]string, error) {
	entries, err := os.ReadDir(q.waiting(""))
	if err != nil {
		return nil, fmt.Errorf("list the waiting jobs: %w", err)
	}
	var names []string
	for _, e := range entries {
		j, err := readJob(q.waiting(e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // another guest has taken it
		}
		if err != nil {
			return nil, fmt.Errorf("read job %s: %w", e.Name(), err)
		}
		if j.Kernel == kernel {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func readJob(file string) (job, error) {
	var j job
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &j)
	}
	return j, err
}

// run runs a job's program. The program's output goes into a file.
func run(ctx context.Context, j job, log string) (result, error) {
	out, err := os.Create(log)
	if err != nil {
		return result{}, fmt.Errorf("create the log: %w", err)
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, j.Args[0], j.Args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = j.Dir, out, out
	started, busy := time.Now(), busyTime()
	err = cmd.Run()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		return result{}, fmt.Errorf("start the test program: %w", err)
	}
	host, _ := os.Hostname()
	return result{cmd.ProcessState.ExitCode(), time.Since(started), busyTime() - busy, host}, nil
}

// busyTime returns how long the processors have been busy since the boot. In the first line of
// /proc/stat these are all fields except the idle time and the time of waiting for disks, in ticks
// of 10 ms.
func busyTime() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var ticks int64
	for i, word := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 7 {
			continue
		}
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// writeJSON writes a file completely or not at all.
func writeJSON(file string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if err := os.WriteFile(file+".part", text, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".part", file)
}
