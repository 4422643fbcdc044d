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

// result is what was measured for one subject.
type result struct {
	Subject string  `json:"subject"`
	Phases  []phase `json:"phases"`
	Burst   *burst  `json:"burst,omitempty"`
	// from a packet's forwarding to the Traffic Indication, ascending
	IndicationsMS []float64 `json:"indications_ms,omitempty"`
	NoIndication  string    `json:"no_indication,omitempty"`
	Calls         []calls   `json:"system_calls,omitempty"`
	// allocated objects; only cygnetd reports them
	Allocations *each          `json:"allocations,omitempty"`
	Silence     *neighborCount `json:"silence,omitempty"`
}

type burst struct {
	Sent       int `json:"sent"`
	Unanswered int `json:"unanswered"`
	neighborCount
}

type neighborCount struct {
	Spokes  int     `json:"spokes"`
	Present int     `json:"neighbours_present"`
	Reached int     `json:"reached"` // spokes that a forwarded packet reached
	After   float64 `json:"after_s,omitempty"`
}

// calls counts the system calls of a phase with a number of registrations in flight. Tracing slows
// a hub down, so a traced hub finds more packets waiting each time than it otherwise would, except
// with one in flight.
type calls struct {
	Phase         string  `json:"phase"`
	InFlight      int     `json:"in_flight"`
	Registrations int     `json:"registrations"`
	Each          float64 `json:"each"` // per registration
	// the part of Each that reads the clock, which is a system call in user-mode Linux
	Clock float64            `json:"clock"`
	Named map[string]float64 `json:"named"` // per registration
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

// others makes the measurements that need only one run.
func (r *result) others(ctx context.Context, o options) error {
	if r.Subject == bareLoop {
		return serve(ctx, o, r.Subject, func(h *hub, g *generator) error {
			return r.countCalls(ctx, o, h, g)
		})
	}
	err := serve(ctx, o, r.Subject, func(h *hub, g *generator) error {
		// The order matters: forwarding many packets at once would use up the indications that a
		// hub sends in a second.
		return errors.Join(r.burst(o, g), r.indications(g), r.neighbors(o, h, g),
			r.countAllocations(ctx, o, g), r.countCalls(ctx, o, h, g))
	})
	if err != nil || o.silence == 0 {
		return err
	}
	return serve(ctx, o, r.Subject, func(h *hub, g *generator) error {
		return r.silence(ctx, o, h, g)
	})
}

// serve calls f with a subject that was just started and answers.
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
	awaitQuiet(h) // so that the cost of the start does not count for registrations
	return f(h, g)
}

// logs returns the end of what the subject printed.
func logs() string {
	files, _ := filepath.Glob(filepath.Join(filesDir, "*.log"))
	var all strings.Builder
	for _, f := range files {
		text, _ := os.ReadFile(f)
		all.Write(text[max(0, len(text)-2000):])
	}
	return all.String()
}

// awaitQuiet waits until the hub has finished its work, since all that follows from a registration
// is part of its cost. This includes saving the state after first registrations. The state after
// refreshes is saved once a minute, however many they are; a run of refreshes therefore includes
// that cost only if the minute ends during the run.
func awaitQuiet(h *hub) {
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

// burst sends registrations of many spokes at once, as after a failure of the hub's uplink.
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

// neighbors counts the neighbours of the spokes in the burst.
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

// indications measures the time to a Traffic Indication for new flows, one after the other, after
// both spokes have registered. By then the kernel has neighbours for both; otherwise it would hold
// the packet until they are resolved, and forward it after the indication.
func (r *result) indications(g *generator) error {
	const (
		flows        = 25
		neighborTime = 100 * time.Millisecond
	)
	for i := range flows {
		from, to := 1000+2*i, 1001+2*i // flows of spokes that no other measurement uses
		clear(g.waiting)
		if err := g.sendRegistrations(from, 2, maxSpokes); err != nil {
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

// countAllocations reads cygnetd's count before and after refreshes. Reading the count allocates
// objects, too: two readings before the refreshes show how many. The first of them may include
// objects of earlier work.
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
			if answered, _, err = g.register(ctx, o.burst, o.most(), func(sent int) bool {
				return sent >= registrations
			}); err != nil {
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
	r.Allocations = &each{
		answered, max(counts[3]-counts[2]-question, 0) / float64(max(answered, 1)),
	}
	return nil
}

// countCalls counts the hub's system calls with strace, if it is installed, for each number in
// flight. It runs apart from other measurements, since strace slows the hub down.
func (r *result) countCalls(ctx context.Context, o options, h *hub, g *generator) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return nil
	}
	// distance between the spokes of two counts, so that all of them register for the first time
	const apart = 4000
	g.first = 10000
	defer func() { g.first = 0 }()
	for _, flight := range o.flights {
		g.first = min(g.first+apart, maxSpokes-apart)
		for _, phase := range []string{phaseFirst, phaseRefresh} {
			awaitQuiet(h) // so that no earlier work is counted
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
	said.Read(make([]byte, 1)) // strace reports that it is attached
	spokes := max(500, 4*flight)
	answered, _, err := g.register(ctx, spokes, flight, func(sent int) bool {
		return sent >= spokes
	})
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
			continue // the line between the heading and the numbers
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

// silence registers spokes and then checks, after a long time without any packet, whether the hub
// still reaches them.
func (r *result) silence(ctx context.Context, o options, h *hub, g *generator) error {
	const window = 100 // so few in flight that no subject loses one
	if _, _, err := g.register(ctx, o.silent, window, func(sent int) bool {
		return sent >= o.silent
	}); err != nil {
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

// cpu returns the processor time that the subject's programs have used so far, in user and kernel
// mode, in steps of 10 ms.
func (h *hub) cpu() time.Duration {
	const user, system = 11, 12
	return time.Duration(h.stat(user)+h.stat(system)) * 10 * time.Millisecond
}

// faults returns how many pages the subject's programs have touched for the first time.
func (h *hub) faults() int {
	const minor, major = 7, 9
	return h.stat(minor) + h.stat(major)
}

// stat returns the sum of a field of /proc/PID/stat over the subject's programs. Field 0 is the
// state, which follows the name.
func (h *hub) stat(field int) (sum int) {
	for _, p := range h.programs {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if len(fields) <= field {
			continue // the program has ended; the generator will notice
		}
		n, _ := strconv.Atoi(fields[field])
		sum += n
	}
	return sum
}

// resident returns the memory of the subject's programs in MB.
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
