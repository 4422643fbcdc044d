// Cygnet shows the state of a running cygnetd and controls it, through the API on its unix socket.
// It also checks configurations.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/preflight"
)

// Exit codes, for scripts.
const (
	exitOK = iota
	exitError
	exitUsage
	exitNotRunning
	exitRefused // refused by the daemon, or by the permissions of a file or socket
	exitWrong   // done, but what was checked is wrong, or a policy refuses it
	exitWarning // done, with warnings but no errors
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, time.Now, preflight.This(), thisHost())
	stop()
	os.Exit(code)
}

// run carries out the command in args and returns the exit code. If it fails half-way, it writes
// nothing to stdout, unless the command follows events.
func run(
	ctx context.Context, args []string, stdout, stderr io.Writer, now func() time.Time,
	host preflight.Host, ev evidence,
) int {
	in := &invocation{
		ctx: ctx, now: now, host: host, evidence: ev,
		stdin: os.Stdin, stdout: stdout, stderr: stderr,
	}
	err := in.run(args)
	if _, werr := stdout.Write(in.out.Bytes()); err == nil && werr != nil {
		err = fmt.Errorf("write the output: %w", werr)
	}
	if err == nil {
		return exitOK
	}
	if message := err.Error(); message != "" {
		fmt.Fprintln(stderr, "cygnet: "+cleanLines(message))
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var usage *usageError
	var refusal *api.Refusal
	var found outcome
	switch {
	case errors.As(err, &found):
		return int(found)
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, api.ErrNotRunning):
		return exitNotRunning
	case errors.Is(err, api.ErrPermission), errors.Is(err, fs.ErrPermission):
		return exitRefused
	case errors.As(err, &refusal) && refusal.Code < 500:
		return exitRefused
	}
	return exitError
}
