// Cygnet shows and steers a running cygnetd through the API on its unix socket, and checks configurations.
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
	exitRefused // by the daemon or by the rights of a file or socket
	exitWrong   // done; what was asked about is wrong, or refused by a policy
	exitWarning // done; nothing is wrong, but there are warnings
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, time.Now, preflight.This())
	stop()
	os.Exit(code)
}

// run does what the arguments say and returns the exit code. Nothing is written to stdout if it fails half-way.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, now func() time.Time, host preflight.Host) int {
	in := &invocation{ctx: ctx, now: now, host: host}
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
