package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
)

// report is the content of the JSON file.
type report struct {
	Subjects []result     `json:"subjects"`
	Ratios   []comparison `json:"ratios,omitempty"`
}

// comparison is the processor time of a registration of cygnetd, divided by that of the other
// subjects.
type comparison struct {
	Phase      string  `json:"phase"`
	Spokes     int     `json:"spokes"`
	InFlight   int     `json:"in_flight"`
	ToFRR      float64 `json:"to_frr,omitempty"`
	ToBareLoop float64 `json:"to_bare_loop,omitempty"`
	// divided by cygnetd's own with the fewest spokes
	ToItsFewest float64 `json:"to_fewest_spokes,omitempty"`
}

// measured identifies what a phase measures, without the subject.
type measured struct {
	phase string
	point
}

func (p phase) measured() measured { return measured{p.Name, point{p.Spokes, p.InFlight}} }

// compare compares each phase of cygnetd with the same phase of the other subjects, and with its
// own phase with the fewest spokes and as many in flight.
func compare(all []result) []comparison {
	by := make(map[string]map[measured]float64)
	var ours []phase
	for _, r := range all {
		by[r.Subject] = make(map[measured]float64)
		for _, p := range r.Phases {
			by[r.Subject][p.measured()] = p.median()
		}
		if r.Subject == cygnetd {
			ours = r.Phases
		}
	}
	var list []comparison
	for _, p := range ours {
		fewest := p.measured()
		for _, q := range ours {
			if q.Name == p.Name && q.InFlight == p.InFlight {
				fewest.spokes = min(fewest.spokes, q.Spokes)
			}
		}
		list = append(list,
			comparison{p.Name, p.Spokes, p.InFlight, ratio(p.median(), by[frr][p.measured()]),
				ratio(p.median(), by[bareLoop][p.measured()]),
				ratio(p.median(), by[cygnetd][fewest])})
	}
	return list
}

// ratio returns a/b, or 0 if there is nothing to compare with.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func save(path string, all []result) error {
	data, err := json.MarshalIndent(report{all, compare(all)}, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// printTables prints the tables.
func printTables(w io.Writer, all []result) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "subject\tphase\tspokes\tin flight\tcpu us/registration\tleast\tpage faults/registration\tcpu s\tregistrations\tlost\trate/s\tresident MB\tneighbours\t")
	for _, r := range all {
		for _, p := range r.Phases {
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%.1f\t%.1f\t%.2f\t%.2f\t%d\t%d\t%.0f\t%.1f\t%d\t\n",
				r.Subject, p.Name, p.Spokes, p.InFlight,
				p.median(), p.least(), p.FaultsEach, p.CPUSeconds, p.Registrations, p.Lost, p.Rate,
				p.ResidentMB, p.Present)
		}
	}
	t.Flush()
	fmt.Fprintln(w)
	for _, r := range all {
		printOthers(w, r)
	}
	for _, c := range compare(all) {
		fmt.Fprintf(w, "cygnetd, %s, %d spokes, %d in flight: %.3f of FRR, %.2f of the bare loop, "+
			"%.2f of its own with the fewest spokes\n",
			c.Phase, c.Spokes, c.InFlight, c.ToFRR, c.ToBareLoop, c.ToItsFewest)
	}
}

// maxNamed is how many kinds of system calls are printed. The file has all of them.
const maxNamed = 10

// printOthers prints the measurements that need only one run.
func printOthers(w io.Writer, r result) {
	if b := r.Burst; b != nil {
		fmt.Fprintf(w, "%s: of a burst of %d registrations %d unanswered; neighbours present %d, reached %d\n",
			r.Subject, b.Sent, b.Unanswered, b.Present, b.Reached)
	}
	if n := len(r.IndicationsMS); n > 0 {
		fmt.Fprintf(w, "%s: traffic indication after %.2f ms (median of %d; most %.2f ms)\n",
			r.Subject, median(r.IndicationsMS), n, r.IndicationsMS[n-1])
	}
	if r.NoIndication != "" {
		fmt.Fprintf(w, "%s: %s\n", r.Subject, r.NoIndication)
	}
	for _, c := range r.Calls {
		fmt.Fprintf(w, "%s: %.2f system calls a registration (%s, %d in flight), %.2f of them read the clock:",
			r.Subject, c.Each, c.Phase, c.InFlight, c.Clock)
		names := slices.Sorted(maps.Keys(c.Named))
		slices.SortStableFunc(names, func(a, b string) int {
			return cmp.Compare(c.Named[b], c.Named[a])
		})
		for _, name := range names[:min(len(names), maxNamed)] {
			fmt.Fprintf(w, " %s %.2f", name, c.Named[name])
		}
		fmt.Fprintln(w)
	}
	if a := r.Allocations; a != nil {
		fmt.Fprintf(w, "%s: %.2f allocations a registration (refreshes)\n", r.Subject, a.Each)
	}
	if s := r.Silence; s != nil {
		fmt.Fprintf(w, "%s: of %d neighbours after %.0f s of silence present %d, reached %d\n",
			r.Subject, s.Spokes, s.After, s.Present, s.Reached)
	}
}
