package sim

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var (
	seed   = flag.Uint64("sim.seed", 1, "seed of the first network")
	seeds  = flag.Int("sim.seeds", 4, "how many networks, one seed after the other")
	spokes = flag.Int("sim.spokes", 25, "spokes of a network")
	hours  = flag.Float64("sim.hours", 3, "virtual hours with faults and traffic")
)

// options of a network of the flags' size.
func options(seed uint64) Options {
	loss := 0.05
	if seed%4 == 0 {
		loss = 0 // some rules can only be checked where nothing is lost
	}
	return Options{
		Seed:   seed,
		Spokes: *spokes,
		For:    time.Duration(*hours * float64(time.Hour)),
		Loss:   loss,
		Each:   20 * time.Minute,
		Hubs:   10 * time.Minute,
		Flows:  15 * time.Minute,
	}
}

// Networks under faults and traffic keep the rules of doc.go.
func TestNetwork(t *testing.T) {
	for i := range *seeds {
		o := options(*seed + uint64(i))
		t.Run(fmt.Sprint("seed=", o.Seed), func(t *testing.T) {
			t.Parallel()
			run(t, o)
		})
	}
}

func run(t *testing.T, o Options) Figures {
	t.Helper()
	begun := time.Now()
	f, err := Run(o)
	took := time.Since(begun)
	if err != nil {
		t.Errorf("%v\nreplay: go test ./test/sim -run TestNetwork -count=1 -sim.seed=%d -sim.seeds=1 -sim.spokes=%d -sim.hours=%v", err, o.Seed, o.Spokes, o.For.Hours())
	}
	t.Logf("%d spokes, %.1f virtual hours in %.1f s (%.0f h/s), %d events, %d NHRP packets, %d of %d data packets arrived (%d lost by chance), %d SAs, %d shortcuts, %d faults; quiet: %.1f NHRP packets a minute",
		o.Spokes, f.Virtual.Hours(), took.Seconds(), f.Virtual.Hours()/took.Seconds(), f.Events, f.NHRP, f.Arrived, f.Data, f.Chance, f.SAs, f.Shortcuts, f.Faults, f.Quiet)
	return f
}
