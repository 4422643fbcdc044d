// Command bench compares what a registration costs FRR's nhrpd with zebra, cygnetd, and a bare loop that does the least that any
// hub must: receive, turn and send the packets in batches and set the neighbour. All three are hubs in a network namespace, one
// after the other, and serve the same generator, which has one NBMA address for each spoke and sends real GRE.
//
// It needs root and a kernel with GRE: test/uml/run or test/host/run give it one. It ends with a table, and writes a JSON file.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// options say what is measured.
type options struct {
	sizes    []int
	cpu      time.Duration
	runs     int
	window   int
	burst    int
	silence  time.Duration
	silent   int
	cygnetd  string
	logLevel string
	out      string
	subjects []string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == bareLoop {
		fmt.Fprintln(os.Stderr, "bare loop:", runBareLoop())
		os.Exit(1)
	}
	o, err := parseOptions()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseOptions() (options, error) {
	var o options
	var sizes, subjects string
	flag.StringVar(&sizes, "sizes", "1000,5000,10000", "numbers of spokes, rising")
	flag.StringVar(&subjects, "subjects", "frr,cygnetd,bare", "what is measured")
	flag.DurationVar(&o.cpu, "cpu", 2*time.Second, "processor time that a daemon uses in one run, at least")
	flag.IntVar(&o.runs, "runs", 3, "runs of each phase and size; the median counts")
	flag.IntVar(&o.window, "window", 1000, "registrations under way at a time, as when spokes come back after a failure")
	flag.IntVar(&o.burst, "burst", 5000, "registrations sent at once to a daemon that has just started")
	flag.DurationVar(&o.silence, "silence", 0, "also look at the neighbours after this long without any packet, such as 10m")
	flag.IntVar(&o.silent, "silent", 2000, "number of spokes that are silent then")
	flag.StringVar(&o.cygnetd, "cygnetd", "bin/cygnetd", "the `program` to measure")
	flag.StringVar(&o.logLevel, "log", "info", "cygnetd's log `level`")
	flag.StringVar(&o.out, "out", "bin/bench.json", "the JSON `file` to write")
	flag.Parse()
	for _, word := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > mostSpokes {
			return o, fmt.Errorf("-sizes: found %q, allowed are numbers from 1 to %d", word, mostSpokes)
		}
		o.sizes = append(o.sizes, n)
	}
	if o.burst > mostSpokes || o.silent > mostSpokes || o.window < 1 || o.runs < 1 {
		return o, fmt.Errorf("-burst and -silent are at most %d, -window and -runs are at least 1", mostSpokes)
	}
	o.subjects = strings.Split(subjects, ",")
	return o, nil
}

// run measures every subject and tells the result.
func run(ctx context.Context, o options) error {
	all, err := measurePhases(ctx, o)
	if err != nil {
		return err
	}
	for i := range all {
		if err := all[i].others(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", all[i].Subject, err)
		}
	}
	tell(os.Stdout, all)
	return save(o.out, all)
}
