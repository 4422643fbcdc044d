// Command bench compares what a registration costs three hubs: FRR's nhrpd with zebra, cygnetd, and
// a bare loop that does the least that any hub must do: receive packets in batches, turn them into
// replies, set the neighbour, and send them. Each is the hub in a network namespace, one after the
// other. All serve the same generator, which has one NBMA address for each spoke and sends real
// GRE.
//
// Bench needs root and a kernel with GRE: test/uml/run or test/host/run provide one. It ends with a
// table, and writes a JSON file.
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

// options select what is measured.
type options struct {
	sizes    []int
	flights  []int
	cpu      time.Duration
	runs     int
	tables   bool // keep the kernel's default limits of the neighbour table
	once     bool // measure also what needs only one run
	burst    int
	silence  time.Duration
	silent   int
	cygnetd  string
	before   string
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
	var sizes, flights, subjects string
	flag.StringVar(&sizes, "sizes", "1000,5000,10000", "numbers of spokes, rising")
	flag.StringVar(&subjects, "subjects", "frr,cygnetd,bare", "what is measured")
	flag.DurationVar(&o.cpu, "cpu", 2*time.Second, "the least processor time that a daemon uses in one run")
	flag.IntVar(&o.runs, "runs", 3, "runs of each phase and size; the median counts; 0: make only the counts")
	flag.StringVar(&flights, "flights", "1,16,64,512", "numbers of registrations in flight, rising")
	flag.BoolVar(&o.tables, "default-gc-thresh", false,
		"keep the kernel's default limits of the neighbour table instead of raising them")
	flag.BoolVar(&o.once, "once", true,
		"also make the measurements that need only one run: a burst, traffic indications, system calls, allocations")
	flag.IntVar(&o.burst, "burst", 5000, "registrations sent at once to a daemon that has just started")
	flag.DurationVar(&o.silence, "silence", 0, "also check which spokes are still reached after this long without any packet, such as 10m")
	flag.IntVar(&o.silent, "silent", 2000, "number of spokes that are silent then")
	flag.StringVar(&o.cygnetd, "cygnetd", "bin/cygnetd", "the `program` to measure")
	flag.StringVar(&o.before, "before", "bin/cygnetd.before",
		"another build of cygnetd, the subject \"before\": the `program` of before a change")
	flag.StringVar(&o.logLevel, "log", "info", "cygnetd's log `level`")
	flag.StringVar(&o.out, "out", "bin/bench.json", "the JSON `file` to write")
	flag.Parse()
	var err error
	if o.sizes, err = numbers("-sizes", sizes); err != nil {
		return o, err
	}
	if o.flights, err = numbers("-flights", flights); err != nil {
		return o, err
	}
	if o.burst > maxSpokes || o.silent > maxSpokes || o.runs < 0 {
		return o, fmt.Errorf("-burst and -silent are at most %d, -runs is not negative", maxSpokes)
	}
	o.subjects = strings.Split(subjects, ",")
	return o, nil
}

// numbers reads a list of numbers of spokes.
func numbers(name, list string) ([]int, error) {
	var all []int
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > maxSpokes {
			return nil, fmt.Errorf("%s: found %q, allowed are numbers from 1 to %d",
				name, word, maxSpokes)
		}
		all = append(all, n)
	}
	return all, nil
}

// most returns the largest number of registrations in flight, for measurements that do not depend
// on it.
func (o options) most() int { return o.flights[len(o.flights)-1] }

// run measures every subject and prints the results.
func run(ctx context.Context, o options) error {
	all, err := measurePhases(ctx, o)
	if err != nil {
		return err
	}
	for i := range all {
		if !o.once {
			break
		}
		if err := all[i].others(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", all[i].Subject, err)
		}
	}
	printTables(os.Stdout, all)
	return save(o.out, all)
}
