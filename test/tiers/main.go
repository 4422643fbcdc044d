// Command tiers runs the tests that need a real kernel, in several guests side by side. It reports
// which tests run, how long each takes and how much is left.
//
//	tiers -tier quick|rest|all|long [-guests N] [-run WRAPPER]
//
// test/tiers/tests.txt assigns each test to a tier, and names the parameter that a test needs on
// the command line of its guest's kernel, or "machine" if it boots a machine of its own from the
// host. "quick" proves each promise once, "rest" is what quick leaves out of "all", and "long" is
// what only time or numbers can prove. A guest has one processor and waits for most of a scenario,
// so more guests than processors are started.
//
// The host writes one file for each job into a queue directory. Each guest claims jobs by renaming
// their files, which is atomic, and leaves a log and a result. A guest that dies fails the job it
// had, and another guest takes its place.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	worker := flag.String("worker", "", "take jobs from this queue directory (inside a guest)")
	kernel := flag.String("kernel", "", "with -worker: the parameter that this kernel has")
	guest := flag.String("guest", "", "with -worker: the guest's name")
	tier := flag.String("tier", "quick", "quick, rest, all or long")
	guests := flag.Int("guests", 0, "guests side by side; 0: as many as this machine can run")
	run := flag.String("run", "test/uml/run", "the command that runs a command in a guest")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := start(ctx, *worker, *kernel, *guest, *tier, *guests, *run); err != nil {
		fmt.Fprintln(os.Stderr, "tiers:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context, worker, kernel, guest, tier string, guests int, run string) error {
	if worker != "" {
		return work(ctx, queue(worker), kernel, guest)
	}
	tests, err := readTable(tableFile)
	if err != nil {
		return err
	}
	if err := errors.Join(compare(tests), buildAll(ctx)); err != nil {
		return err
	}
	jobs := plan(tests, tier)
	if len(jobs) == 0 {
		return fmt.Errorf("no test is of tier %q", tier)
	}
	if guests == 0 {
		if guests, err = guestsHere(ctx); err != nil {
			return err
		}
	}
	return runAll(ctx, jobs, max(min(guests, len(jobs)), 1), strings.Fields(run))
}

// buildAll builds the test programs of the packages that have tests on a real kernel.
func buildAll(ctx context.Context) error {
	for _, pkg := range labPackages() {
		if err := build(ctx, pkg); err != nil {
			return err
		}
	}
	return nil
}

// compare returns an error unless each existing test has a line in the table, and each line a test.
func compare(tests []test) error {
	lines := make(map[string]bool)
	for _, t := range tests {
		lines[t.pkg+" "+t.name] = true
	}
	var problems []error
	for _, pkg := range labPackages() {
		names, err := labTests(pkg)
		if err != nil {
			return err
		}
		for _, name := range names {
			if !lines[pkg+" "+name] {
				problems = append(problems, fmt.Errorf(
					"%s in %s has no line in %s: add one with its tier and seconds",
					name, pkg, tableFile))
			}
			delete(lines, pkg+" "+name)
		}
	}
	for line := range lines {
		problems = append(problems, fmt.Errorf(
			"%s lists %s, which is no test on a real kernel", tableFile, line))
	}
	return errors.Join(problems...)
}

// programFile returns the path of a package's test program.
func programFile(pkg string) string {
	return filepath.Join("bin", "lab", strings.ReplaceAll(pkg, "/", "-")+".test")
}

func build(ctx context.Context, pkg string) error {
	program := programFile(pkg)
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "lab", "-o", program, "./"+pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the tests of %s: %w", pkg, err)
	}
	return nil
}

// seconds prints a duration in seconds with one digit.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
