package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

const (
	phaseFirst   = "first"
	phaseRefresh = "refresh"
)

// phase is what first registrations, or refreshes, of a number of spokes cost.
type phase struct {
	Name          string  `json:"name"`
	Spokes        int     `json:"spokes"`
	InFlight      int     `json:"in_flight"`
	Registrations int     `json:"registrations"` // answered registrations in all runs
	Lost          int     `json:"lost"`
	CPUSeconds    float64 `json:"cpu_s"` // processor time of all runs
	// processor time of an answered registration in each run, ascending
	MicrosEach []float64 `json:"cpu_us_each"`
	FaultsEach float64   `json:"page_faults_each"`   // page faults of an answered registration
	Rate       float64   `json:"rate"`               // registrations per second in the last run
	ResidentMB float64   `json:"resident_mb"`        // memory at the end
	Present    int       `json:"neighbours_present"` // neighbours at the end
}

// median returns the median processor time of a registration in microseconds.
func (p phase) median() float64 { return median(p.MicrosEach) }

// least returns the processor time of a registration in the run with the smallest one. Other work
// of a busy machine can only add to a run.
func (p phase) least() float64 {
	if len(p.MicrosEach) == 0 {
		return 0
	}
	return p.MicrosEach[0]
}

// use is what the registrations of one run used.
type use struct {
	answered, lost int
	cpu, took      time.Duration
	faults         int
}

func (u *use) add(o use) {
	u.answered += o.answered
	u.lost += o.lost
	u.cpu += o.cpu
	u.took += o.took
	u.faults += o.faults
}

// errNoneAnswered means that a hub answered no spoke. FRR sometimes does that under a crowd.
var errNoneAnswered = errors.New("none of the registrations was answered")

// maxSilentHubs is how many hubs that answer no spoke are accepted in one run. Registrations sent
// to them count as lost, and their processor time is not counted.
const maxSilentHubs = 3

// register has the spokes register until enough reports true.
func (p *phase) register(
	ctx context.Context, o options, h *hub, g *generator, enough func(int) bool,
) (use, error) {
	faults, before, start := h.faults(), h.cpu(), time.Now()
	answered, lost, err := g.register(ctx, p.Spokes, p.InFlight, enough)
	if err != nil {
		return use{}, err
	}
	if answered == 0 {
		return use{lost: lost}, fmt.Errorf("%w\n%s", errNoneAnswered, logs())
	}
	took := time.Since(start)
	if p.Name == phaseFirst {
		h.awaitSave(start.Add(took))
	}
	awaitQuiet(h)
	return use{
		answered: answered, lost: lost, cpu: h.cpu() - before, took: took,
		faults: h.faults() - faults,
	}, nil
}

// add adds the results of one run.
func (p *phase) add(u use) {
	p.FaultsEach = (p.FaultsEach*float64(p.Registrations) + float64(u.faults)) /
		float64(p.Registrations+u.answered)
	p.Registrations += u.answered
	p.Lost += u.lost
	p.CPUSeconds += u.cpu.Seconds()
	p.MicrosEach = append(p.MicrosEach, float64(u.cpu.Microseconds())/float64(u.answered))
	slices.Sort(p.MicrosEach)
	p.Rate = float64(u.answered) / u.took.Seconds()
}

func (p *phase) end(h *hub) (err error) {
	p.ResidentMB = h.resident()
	p.Present, err = h.present(p.Spokes)
	return err
}

// point is a number of spokes and a number of registrations in flight.
type point struct{ spokes, flight int }

// points returns the combinations to measure: each number of spokes with the most registrations in
// flight, and the largest number of spokes with each number in flight.
func (o options) points() []point {
	var list []point
	for _, n := range o.sizes {
		list = append(list, point{n, o.most()})
	}
	for _, f := range o.flights[:len(o.flights)-1] {
		list = append(list, point{o.sizes[len(o.sizes)-1], f})
	}
	return list
}

// measurePhases measures first registrations and refreshes of all subjects at all points, once
// each, and then repeats all of this. The speed of the machine changes over time, and values that
// are compared should be measured at about the same time.
func measurePhases(ctx context.Context, o options) ([]result, error) {
	points := o.points()
	all := make([]result, len(o.subjects))
	for i, subject := range o.subjects {
		all[i].Subject = subject
		for _, p := range points {
			all[i].Phases = append(all[i].Phases,
				phase{Name: phaseFirst, Spokes: p.spokes, InFlight: p.flight},
				phase{Name: phaseRefresh, Spokes: p.spokes, InFlight: p.flight})
		}
	}
	for run := range o.runs {
		for at, p := range points {
			for i := range all {
				first, refresh := &all[i].Phases[2*at], &all[i].Phases[2*at+1]
				if err := both(ctx, o, all[i].Subject, first, refresh); err != nil {
					return nil, fmt.Errorf("%s, %d spokes, %d in flight: %w",
						all[i].Subject, p.spokes, p.flight, err)
				}
				fmt.Fprintf(os.Stderr, "run %d of %d: %s, %d spokes, %d in flight: "+
					"first %.0f us, refresh %.0f us a registration (medians so far)\n",
					run+1, o.runs, all[i].Subject, p.spokes, p.flight, first.median(),
					refresh.median())
			}
		}
	}
	return all, nil
}

// both makes one run of first registrations and one of refreshes. A spoke registers for the first
// time only once. So the run starts new hubs until together they have used the processor long
// enough to be measured, since that time is counted in steps of 10 ms. The refreshes are measured
// with the last of these hubs.
func both(ctx context.Context, o options, subject string, first, refresh *phase) error {
	var u use
	deaf := 0
	for done := false; !done; {
		err := serve(ctx, o, subject, func(h *hub, g *generator) error {
			one, err := first.register(ctx, o, h, g, func(sent int) bool {
				return sent >= first.Spokes
			})
			u.add(one)
			if errors.Is(err, errNoneAnswered) && deaf < maxSilentHubs {
				deaf++
				return nil
			}
			if err != nil {
				return err
			}
			if err := first.end(h); err != nil {
				return err
			}
			if done = u.cpu >= o.cpu; done {
				return refresh.repeat(ctx, o, h, g)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	first.add(u)
	return nil
}

// repeat makes one run of refreshes.
func (p *phase) repeat(ctx context.Context, o options, h *hub, g *generator) error {
	before := h.cpu()
	u, err := p.register(ctx, o, h, g, func(sent int) bool {
		return sent >= p.Spokes && h.cpu()-before >= o.cpu
	})
	if err != nil {
		return err
	}
	p.add(u)
	return p.end(h)
}
