package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	phaseFirst   = "first"
	phaseRefresh = "refresh"
)

// phase is first registrations or refreshes of one number of spokes.
type phase struct {
	Name          string    `json:"name"`
	Spokes        int       `json:"spokes"`
	Registrations int       `json:"registrations"` // answered, in all runs
	Lost          int       `json:"lost"`
	CPUSeconds    float64   `json:"cpu_s"`              // in all runs
	MicrosEach    []float64 `json:"cpu_us_each"`        // processor time of an answered registration, of each run, rising
	FaultsEach    float64   `json:"page_faults_each"`   // of an answered registration
	Rate          float64   `json:"rate"`               // registrations a second of the last run
	ResidentMB    float64   `json:"resident_mb"`        // at the end
	Present       int       `json:"neighbours_present"` // at the end
}

// median is the processor time of a registration in microseconds.
func (p phase) median() float64 { return median(p.MicrosEach) }

// use is what registrations took.
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

// register has the spokes register until it is enough.
func (p *phase) register(ctx context.Context, o options, h *hub, g *generator, enough func(int) bool) (use, error) {
	faults, before, start := h.faults(), h.cpu(), time.Now()
	answered, lost, err := g.register(ctx, p.Spokes, o.window, enough)
	if err != nil {
		return use{}, err
	}
	if answered == 0 {
		return use{}, fmt.Errorf("none of the registrations was answered\n%s", logs())
	}
	took := time.Since(start)
	settle(h)
	return use{answered: answered, lost: lost, cpu: h.cpu() - before, took: took, faults: h.faults() - faults}, nil
}

// add takes over one run.
func (p *phase) add(u use) {
	p.FaultsEach = (p.FaultsEach*float64(p.Registrations) + float64(u.faults)) / float64(p.Registrations+u.answered)
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

// once is enough when each spoke registered.
func once(spokes int) func(int) bool {
	return func(sent int) bool { return sent >= spokes }
}

// fresh is one run of first registrations. They are first ones only once, so that the run takes as many hubs that have just started as use
// the processor long enough to be measured: it is counted in ticks of 10 ms.
func (p *phase) fresh(ctx context.Context, o options, subject string) error {
	var u use
	for done := false; !done; done = o.runs == 0 || u.cpu >= o.cpu {
		err := serve(ctx, o, subject, func(h *hub, g *generator) error {
			one, err := p.register(ctx, o, h, g, once(p.Spokes))
			if err != nil {
				return err
			}
			u.add(one)
			return p.end(h)
		})
		if err != nil {
			return err
		}
	}
	p.add(u)
	return nil
}

// repeat is all runs of refreshes.
func (p *phase) repeat(ctx context.Context, o options, h *hub, g *generator) error {
	for range o.runs {
		before := h.cpu()
		enough := func(sent int) bool { return sent >= p.Spokes && h.cpu()-before >= o.cpu }
		u, err := p.register(ctx, o, h, g, enough)
		if err != nil {
			return err
		}
		p.add(u)
	}
	return p.end(h)
}
