package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cygnet/nhrpd/api"
)

// result is what was measured of one subject.
type result struct {
	Subject       string         `json:"subject"`
	Phases        []phase        `json:"phases"`
	Burst         *burst         `json:"burst,omitempty"`
	IndicationsMS []float64      `json:"indications_ms,omitempty"` // from a packet's forwarding to the traffic indication, rising
	NoIndication  string         `json:"no_indication,omitempty"`
	SystemCalls   *each          `json:"system_calls,omitempty"`
	ClockReadings *each          `json:"clock_readings,omitempty"` // those that are system calls, as in user-mode Linux
	Allocations   *each          `json:"allocations,omitempty"`    // of objects; only cygnetd tells
	Silence       *neighborCount `json:"silence,omitempty"`
}

type burst struct {
	Sent       int `json:"sent"`
	Unanswered int `json:"unanswered"`
	neighborCount
}

type neighborCount struct {
	Spokes  int     `json:"spokes"`
	Present int     `json:"neighbours_present"`
	Reached int     `json:"reached"` // by a forwarded packet
	After   float64 `json:"after_s,omitempty"`
}

// each is how many of something a registration takes, counted with refreshes.
type each struct {
	Registrations int     `json:"registrations"`
	Each          float64 `json:"each"`
}

func median(sorted []float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// others measures what is measured once.
func (r *result) others(ctx context.Context, o options) error {
	if r.Subject == bareLoop {
		return nil
	}
	err := serve(ctx, o, r.Subject, func(h *hub, g *generator) error {
		// In this order: many forwarded packets at once use up the indications that a hub sends in a second.
		return errors.Join(r.burst(o, g), r.indications(g), r.neighbors(o, h, g),
			r.countAllocations(ctx, o, g), r.countCalls(ctx, o, h, g))
	})
	if err != nil || o.silence == 0 {
		return err
	}
	return serve(ctx, o, r.Subject, func(h *hub, g *generator) error { return r.silence(ctx, o, h, g) })
}

// serve has f work on a subject that has just started and answers.
func serve(ctx context.Context, o options, subject string, f func(*hub, *generator) error) error {
	h, err := startHub(ctx, o, subject)
	if err != nil {
		return err
	}
	defer h.stop()
	w, err := openWire(h.mac)
	if err != nil {
		return err
	}
	defer w.close()
	g := newGenerator(w)
	if err := g.awaitHub(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, logs())
	}
	settle(h) // what its start takes is no registration's cost
	return f(h, g)
}

// logs is the end of what the subject printed.
func logs() string {
	files, _ := filepath.Glob(filepath.Join(filesDir, "*.log"))
	var all strings.Builder
	for _, f := range files {
		text, _ := os.ReadFile(f)
		all.Write(text[max(0, len(text)-2000):])
	}
	return all.String()
}

// settle waits until the hub has done what is left to do: what follows from a registration, the saving
// of the state included, counts as its cost.
func settle(h *hub) {
	h.awaitSave(time.Now())
	const quiet = 300 * time.Millisecond
	for before := h.cpu(); ; {
		time.Sleep(quiet)
		now := h.cpu()
		if now-before <= 10*time.Millisecond {
			return
		}
		before = now
	}
}

// burst sends registrations of many spokes at once, as after a failure of the hub's line.
func (r *result) burst(o options, g *generator) error {
	clear(g.waiting)
	if err := g.sendRegistrations(0, o.burst, o.burst); err != nil {
		return err
	}
	if err := g.collect(); err != nil {
		return err
	}
	r.Burst = &burst{Sent: o.burst, Unanswered: g.drain()}
	return nil
}

// neighbors looks at the neighbours of those who were in the burst.
func (r *result) neighbors(o options, h *hub, g *generator) (err error) {
	r.Burst.neighborCount, err = neighbors(h, g, o.burst)
	return err
}

func neighbors(h *hub, g *generator, spokes int) (neighborCount, error) {
	present, err := h.present(spokes)
	if err != nil {
		return neighborCount{}, err
	}
	reached, err := g.reached(spokes)
	return neighborCount{Spokes: spokes, Present: present, Reached: reached}, err
}

// indications measures the time to a traffic indication with new flows, one after the other, after both ends have registered.
// Each has its neighbours by then: else the packet would wait for them in the kernel and leave after the indication.
func (r *result) indications(g *generator) error {
	const (
		flows        = 25
		neighborTime = 100 * time.Millisecond
	)
	for i := range flows {
		from, to := 1000+2*i, 1001+2*i // flows that no other measurement made
		clear(g.waiting)
		if err := g.sendRegistrations(from, 2, mostSpokes); err != nil {
			return err
		}
		g.drain()
		time.Sleep(neighborTime)
		d, err := g.indication(from, to)
		if err != nil {
			r.NoIndication = err.Error()
			return nil
		}
		r.IndicationsMS = append(r.IndicationsMS, d.Seconds()*1000)
	}
	slices.Sort(r.IndicationsMS)
	return nil
}

// countAllocations asks cygnetd for its count before and after refreshes. What a question itself allocates is known from the two before, of
// which the first is not the one that pays for what came earlier.
func (r *result) countAllocations(ctx context.Context, o options, g *generator) error {
	if r.Subject != cygnetd {
		return nil
	}
	const registrations = 10000
	var counts [4]float64
	var answered int
	for i := range counts {
		if i == 3 {
			var err error
			if answered, _, err = g.register(ctx, o.burst, o.most(), func(sent int) bool { return sent >= registrations }); err != nil {
				return err
			}
		}
		status, err := api.Dial(apiSocket).Status(ctx)
		if err != nil {
			return err
		}
		counts[i] = float64(status.Memory.Allocations)
	}
	question := counts[2] - counts[1]
	r.Allocations = &each{answered, max(counts[3]-counts[2]-question, 0) / float64(max(answered, 1))}
	return nil
}

// countCalls counts the hub's system calls with strace, where there is one. It slows the hub down, so that nothing else is measured then.
func (r *result) countCalls(ctx context.Context, o options, h *hub, g *generator) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return nil
	}
	out := filepath.Join(filesDir, "strace")
	args := []string{"-f", "-c", "-U", "calls,name", "-o", out}
	for _, p := range h.programs {
		args = append(args, "-p", strconv.Itoa(p.Process.Pid))
	}
	cmd := exec.CommandContext(ctx, "strace", args...)
	said, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	said.Read(make([]byte, 1)) // it says that it is attached
	const registrations = 500
	answered, _, err := g.register(ctx, registrations, o.most(), func(sent int) bool { return sent >= registrations })
	cmd.Process.Signal(unix.SIGINT)
	cmd.Wait()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	clock := 0
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[1] == "total" {
			calls, _ := strconv.Atoi(f[0])
			r.SystemCalls = &each{answered, float64(calls) / float64(max(answered, 1))}
		}
		if f := strings.Fields(line); len(f) == 2 && (f[1] == "clock_gettime" || f[1] == "gettimeofday") {
			calls, _ := strconv.Atoi(f[0])
			clock += calls
		}
	}
	r.ClockReadings = &each{answered, float64(clock) / float64(max(answered, 1))}
	return nil
}

// silence registers spokes and looks after a long time without any packet whether they are still reached.
func (r *result) silence(ctx context.Context, o options, h *hub, g *generator) error {
	const window = 100 // so few at a time that nobody loses one
	if _, _, err := g.register(ctx, o.silent, window, func(sent int) bool { return sent >= o.silent }); err != nil {
		return err
	}
	select {
	case <-time.After(o.silence):
	case <-ctx.Done():
		return ctx.Err()
	}
	count, err := neighbors(h, g, o.silent)
	count.After = o.silence.Seconds()
	r.Silence = &count
	return err
}

// cpu is the processor time of the subject's programs so far, user and system, in ticks of 10 ms.
func (h *hub) cpu() time.Duration {
	const user, system = 11, 12
	return time.Duration(h.stat(user)+h.stat(system)) * 10 * time.Millisecond
}

// faults is how many pages the subject's programs have touched for the first time.
func (h *hub) faults() int {
	const minor, major = 7, 9
	return h.stat(minor) + h.stat(major)
}

// stat is the sum of a field of /proc/PID/stat over the subject's programs; the state behind the name is field 0.
func (h *hub) stat(field int) (sum int) {
	for _, p := range h.programs {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if len(fields) <= field {
			continue // it has ended; the generator notices
		}
		n, _ := strconv.Atoi(fields[field])
		sum += n
	}
	return sum
}

// resident is the memory of the subject's programs in MB.
func (h *hub) resident() float64 {
	var kB int
	for _, p := range h.programs {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) >= 2 && f[0] == "VmRSS:" {
				n, _ := strconv.Atoi(f[1])
				kB += n
			}
		}
	}
	return float64(kB) / 1024
}
