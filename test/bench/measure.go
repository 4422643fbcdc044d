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
	Calls         []calls        `json:"system_calls,omitempty"`
	Allocations   *each          `json:"allocations,omitempty"` // of objects; only cygnetd tells
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

// calls are the system calls of a phase with a number of registrations in flight. A hub that is traced is
// slow, so that it finds more packets waiting each time than it does otherwise, except with one in flight.
type calls struct {
	Phase         string             `json:"phase"`
	InFlight      int                `json:"in_flight"`
	Registrations int                `json:"registrations"`
	Each          float64            `json:"each"`  // of a registration
	Clock         float64            `json:"clock"` // those of Each that read the clock, as in user-mode Linux
	Named         map[string]float64 `json:"named"` // of a registration
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
		return serve(ctx, o, r.Subject, func(h *hub, g *generator) error { return r.countCalls(ctx, o, h, g) })
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
	h.awaitSave(time.Now())
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

// settle waits until the hub has done what is left to do: what follows from a registration counts as its
// cost. That includes the saving of the state after first registrations. Refreshes are saved once a
// minute, however many they are: a run of refreshes has the cost of that only if the minute ends in it.
func settle(h *hub) {
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
	if r.Subject != cygnetd && r.Subject != earlier {
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

// countCalls counts the hub's system calls with strace, where there is one, for each number in flight.
// It slows the hub down, so that nothing else is measured then.
func (r *result) countCalls(ctx context.Context, o options, h *hub, g *generator) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return nil
	}
	const apart = 4000 // spokes between those of two counts, all of which register for the first time
	g.first = 10000
	defer func() { g.first = 0 }()
	for _, flight := range o.flights {
		g.first = min(g.first+apart, mostSpokes-apart)
		for _, phase := range []string{phaseFirst, phaseRefresh} {
			settle(h) // nothing that is left over from before is counted
			c, err := countCalls(ctx, h, g, flight)
			if err != nil {
				return err
			}
			c.Phase = phase
			r.Calls = append(r.Calls, c)
		}
	}
	return nil
}

func countCalls(ctx context.Context, h *hub, g *generator, flight int) (calls, error) {
	out := filepath.Join(filesDir, "strace")
	args := []string{"-f", "-c", "-U", "calls,name", "-o", out}
	for _, p := range h.programs {
		args = append(args, "-p", strconv.Itoa(p.Process.Pid))
	}
	cmd := exec.CommandContext(ctx, "strace", args...)
	said, err := cmd.StderrPipe()
	if err != nil {
		return calls{}, err
	}
	if err := cmd.Start(); err != nil {
		return calls{}, err
	}
	said.Read(make([]byte, 1)) // it says that it is attached
	spokes := max(500, 4*flight)
	answered, _, err := g.register(ctx, spokes, flight, func(sent int) bool { return sent >= spokes })
	cmd.Process.Signal(unix.SIGINT)
	cmd.Wait()
	if err != nil {
		return calls{}, err
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return calls{}, err
	}
	c := calls{InFlight: flight, Registrations: answered, Named: make(map[string]float64)}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		count, err := strconv.Atoi(f[0])
		if err != nil {
			continue // the line between head and numbers
		}
		each := float64(count) / float64(max(answered, 1))
		switch name := f[1]; name {
		case "total":
			c.Each = each
			continue
		case "clock_gettime", "gettimeofday":
			c.Clock += each
		}
		c.Named[f[1]] = each
	}
	return c, nil
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
