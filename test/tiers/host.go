package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// runAll runs the jobs in guests and reports each result. It returns an error if a job failed.
func runAll(ctx context.Context, jobs []job, guests int, wrapper []string) error {
	dir, err := os.MkdirTemp("", "cygnet-tiers-")
	if err != nil {
		return fmt.Errorf("make the queue: %w", err)
	}
	defer os.RemoveAll(dir)
	q := queue(dir)
	if err := q.fill(jobs); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var all sync.WaitGroup
		for i := range guests {
			all.Go(func() {
				// A machine takes the place of a guest. It comes first, since it takes long.
				if i == 0 {
					q.host(ctx)
				}
				for _, kernel := range kernels(jobs) {
					q.guest(ctx, wrapper, self, kernel, strconv.Itoa(i))
				}
			})
		}
		all.Wait()
	}()
	fmt.Printf("%d jobs of tests on a real kernel, in %d guests side by side\n", len(jobs), guests)
	p := progress{q: q, jobs: jobs, guests: guests, started: time.Now(), out: os.Stdout}
	p.watch(ended)
	return p.conclude(ctx)
}

// fill writes the waiting jobs. Their names begin with their number in the order.
func (q queue) fill(jobs []job) error {
	for _, sub := range []string{"waiting", "running", "done", "died"} {
		if err := os.Mkdir(filepath.Join(string(q), sub), 0o755); err != nil {
			return fmt.Errorf("make the queue: %w", err)
		}
	}
	for i := range jobs {
		jobs[i].Name = fmt.Sprintf("%03d-%s", i, jobs[i].Name)
		if err := writeJSON(q.waiting(jobs[i].Name), jobs[i]); err != nil {
			return fmt.Errorf("queue %s: %w", jobs[i].Name, err)
		}
	}
	return nil
}

// host runs the jobs that boot machines of their own.
func (q queue) host(ctx context.Context) {
	if err := work(ctx, q, ownMachine, ownMachine); err != nil && ctx.Err() == nil {
		fmt.Println("the tests that boot machines ended early:", err)
	}
}

// guest starts a guest whose kernel has the parameter, and a new one whenever it dies, until no job
// for it waits. name tells the guests apart.
func (q queue) guest(ctx context.Context, wrapper []string, self, kernel, name string) {
	for before := q.count(kernel); ctx.Err() == nil && before > 0; before = q.count(kernel) {
		var said strings.Builder
		args := append(slices.Clone(wrapper[1:]), self, "-worker", string(q), "-kernel", kernel,
			"-guest", name)
		cmd := exec.CommandContext(ctx, wrapper[0], args...)
		cmd.Env = append(os.Environ(), "UML_TIME=4800")
		if kernel != "" {
			cmd.Env = append(cmd.Env, "UML_APPEND="+kernel)
		}
		cmd.Stdout, cmd.Stderr = &said, &said
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 20 * time.Second
		err := cmd.Run()
		if said.Len() > 0 {
			fmt.Print(said.String())
		}
		if err == nil {
			return
		}
		fmt.Println("a guest ended early:", err)
		if q.count(kernel) == before {
			return // the guest cannot even start; neither could another one
		}
		q.bury(name, fmt.Sprintf("%s%v\n", said.String(), err))
	}
}

// bury keeps what a guest that died said last, and has the job that it ran wait again. User-mode
// Linux has died once in some thousands of jobs, for a reason that nobody knows: then there is no
// result, neither good nor bad, so the job runs once more. If that guest dies as well, the job has
// failed. The summary tells of each death.
func (q queue) bury(guest, said string) {
	entries, err := os.ReadDir(q.running(guest, ""))
	for _, e := range entries {
		name := e.Name()
		if _, missing := os.Stat(q.result(name)); missing == nil {
			continue
		}
		log, _ := os.ReadFile(q.log(name))
		said = fmt.Sprintf("it ran %s, whose log is:\n%s\nit said last:\n%s", name[4:],
			lastLines(string(log), 20), lastLines(said, 40))
		err = errors.Join(err, q.again(guest, name))
	}
	if err := errors.Join(err, q.recordDeath(said)); err != nil {
		fmt.Println("a guest died, and what it did cannot be kept:", err)
	}
}

// again has a job that a guest left without a result wait for another guest, once.
func (q queue) again(guest, name string) error {
	file := q.running(guest, name)
	j, err := readJob(file)
	if err != nil || j.Again {
		return err
	}
	j.Again = true
	if err := writeJSON(file, j); err != nil {
		return fmt.Errorf("mark job %s: %w", name, err)
	}
	return os.Rename(file, q.waiting(name))
}

// recordDeath keeps what is known of a guest's death for the summary: the run's output is long, and
// often just its end is read.
func (q queue) recordDeath(text string) error {
	f, err := os.CreateTemp(filepath.Join(string(q), "died"), "")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// deaths returns what is known of each guest's death.
func (q queue) deaths() []string {
	var texts []string
	files, _ := filepath.Glob(filepath.Join(string(q), "died", "*"))
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			texts = append(texts, string(text))
		}
	}
	return texts
}

// count returns how many jobs for a kernel wait.
func (q queue) count(kernel string) int {
	names, _ := q.waitingFor(kernel)
	return len(names)
}

// progress counts what has been done, and reports it.
type progress struct {
	q       queue
	jobs    []job
	guests  int
	started time.Time
	out     io.Writer

	seen                    map[string]bool
	expected, actual        time.Duration // sums over the jobs that are done
	passed, failed, skipped int
	failures                []string
	ended                   []finished
}

type finished struct {
	name string
	result
}

// watch reports jobs as they end, until all guests have ended.
func (p *progress) watch(ended <-chan struct{}) {
	p.seen = make(map[string]bool)
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			p.collect()
			return
		case <-tick.C:
			p.collect()
		}
	}
}

func (p *progress) collect() {
	for _, j := range p.jobs {
		if p.seen[j.Name] {
			continue
		}
		text, err := os.ReadFile(p.q.result(j.Name))
		if err != nil {
			continue
		}
		var r result
		if err := json.Unmarshal(text, &r); err != nil {
			r.Exit = -1
		}
		p.done(j, r)
	}
}

func (p *progress) done(j job, r result) {
	p.seen[j.Name] = true
	p.expected += j.Takes
	p.actual += r.Wall
	p.ended = append(p.ended, finished{j.Name[4:], r})
	log, _ := os.ReadFile(p.q.log(j.Name))
	word := "ok"
	if r.Exit != 0 {
		word = "FAIL"
		p.failures = append(p.failures, j.Name[4:])
	}
	p.countTests(string(log), r.Exit != 0)
	fmt.Fprintf(p.out, "%3d/%d %-4s %7s (processor %7s) %-34s %s\n", len(p.seen), len(p.jobs), word,
		seconds(r.Wall), seconds(r.Processor), j.Name[4:], p.left())
	for line := range strings.Lines(string(log)) {
		if strings.HasPrefix(line, "--- SKIP") {
			fmt.Fprint(p.out, "        ", line)
		}
	}
	if r.Exit != 0 {
		fmt.Fprintf(p.out, "%s\n", log)
	}
}

// countTests counts the tests that a log reports. A job that failed without a failed test counts as
// one failed test.
func (p *progress) countTests(log string, failed bool) {
	before := p.failed
	for line := range strings.Lines(log) {
		switch {
		case strings.HasPrefix(line, "--- PASS"):
			p.passed++
		case strings.HasPrefix(line, "--- FAIL"):
			p.failed++
		case strings.HasPrefix(line, "--- SKIP"):
			p.skipped++
		}
	}
	if failed && p.failed == before {
		p.failed++
	}
}

// left returns which jobs run, and an estimate of how long the rest takes. The estimate scales the
// times in the table by what the finished jobs really took.
func (p *progress) left() string {
	var rest time.Duration
	for _, j := range p.jobs {
		if !p.seen[j.Name] {
			rest += j.Takes
		}
	}
	if rest == 0 {
		return ""
	}
	factor := 1.0
	if p.expected > 0 {
		factor = float64(p.actual) / float64(p.expected)
	}
	estimate := time.Duration(float64(rest) * factor / float64(p.guests)).Round(10 * time.Second)
	running, _ := filepath.Glob(p.q.running("*", "*"))
	var names []string
	for _, file := range running {
		if name := filepath.Base(file); !p.seen[name] {
			names = append(names, name[4:])
		}
	}
	return fmt.Sprintf("| about %s left; %s", estimate, strings.Join(names, ", "))
}

// conclude prints a summary. Its last line is the number of tests.
func (p *progress) conclude(ctx context.Context) error {
	for _, j := range p.jobs {
		if !p.seen[j.Name] {
			p.failed++
			p.failures = append(p.failures, j.Name[4:]+" (its guest died or never started)")
		}
	}
	for _, text := range p.q.deaths() {
		fmt.Fprintf(p.out, "a guest died; %s", text)
	}
	var wall, processor time.Duration
	for _, f := range p.ended {
		wall += f.Wall
		processor += f.Processor
	}
	fmt.Fprintf(p.out, "%s; the guests worked %s of %s that the tests took\n",
		time.Since(p.started).Round(time.Second), processor.Round(time.Second),
		wall.Round(time.Second))
	slices.Sort(p.failures)
	for _, name := range p.failures {
		fmt.Fprintln(p.out, "failed:", name)
	}
	fmt.Fprintf(p.out, "%d passed, %d failed, %d skipped\n", p.passed, p.failed, p.skipped)
	if err := context.Cause(ctx); errors.Is(err, context.Canceled) && len(p.failures) > 0 {
		return fmt.Errorf("%d jobs failed or were interrupted", len(p.failures))
	}
	if len(p.failures) > 0 {
		return fmt.Errorf("%d jobs failed", len(p.failures))
	}
	return nil
}

// lastLines returns the last lines of a text, at most as many as asked for.
func lastLines(text string, most int) string {
	lines := slices.Collect(strings.Lines(text))
	return strings.Join(lines[max(0, len(lines)-most):], "")
}
