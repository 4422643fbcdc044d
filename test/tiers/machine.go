package main

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"
)

// most is how many guests run side by side where they do not slow each other down. A guest has one
// processor and waits for much of its time, so there are more guests than the usual two processors.
const most = 3

// slowed is how much longer processes that start side by side may take than those that start alone,
// on a machine that is to run several guests. Where guests do not slow each other down, 1.2 to 1.5
// was measured; with shadow page tables, more than 2.
const slowed = 1.75

// guestsHere returns how many guests this machine is to run side by side: most, or one where they
// slow each other down. Some virtual machines have shadow page tables, which one processor at a
// time can change. A guest changes them with each page that a program touches, so two guests take
// more than twice as long as one there, and a test may miss a deadline. Starting a program changes
// page tables, too, so the function compares that, for one program at a time and for two.
func guestsHere(ctx context.Context) (int, error) {
	alone, both, err := fastestStarts(ctx)
	if err != nil {
		return 0, err
	}
	guests := guestsFor(alone, both)
	fmt.Printf("starting a program takes %s, beside another one %s: %d guests side by side\n",
		alone.Round(10*time.Microsecond), both.Round(10*time.Microsecond), guests)
	return guests, nil
}

// guestsFor returns the number of guests by how long a program takes to start alone, and beside
// another one.
func guestsFor(alone, both time.Duration) int {
	if both.Seconds() > slowed*alone.Seconds() {
		return 1
	}
	return most
}

// fastestStarts returns how long a program takes to start and end, alone and beside another one. It
// measures both in turn and takes the shortest of several rounds, since something else may run
// during some of them.
func fastestStarts(ctx context.Context) (alone, both time.Duration, err error) {
	const rounds, starts = 8, 20
	fastest := [2]time.Duration{}
	for range rounds {
		for i := range fastest {
			began := time.Now()
			if err := startPrograms(ctx, i+1, starts); err != nil {
				return 0, 0, err
			}
			if took := time.Since(began) / starts; fastest[i] == 0 || took < fastest[i] {
				fastest[i] = took
			}
		}
	}
	return fastest[0], fastest[1], nil
}

// startPrograms runs a program that does nothing, one time after the other, in several goroutines.
func startPrograms(ctx context.Context, goroutines, starts int) error {
	errs := make([]error, goroutines)
	var all sync.WaitGroup
	for i := range goroutines {
		all.Go(func() {
			for range starts {
				if errs[i] = exec.CommandContext(ctx, "true").Run(); errs[i] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("start a program to compare guests by: %w", err)
		}
	}
	return nil
}
