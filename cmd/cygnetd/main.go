// Command cygnetd makes this host a node of a dynamic multipoint VPN. It maintains the mGRE
// tunnels, speaks NHRP on them and has strongSwan secure every peer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"cygnet/nhrpd"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/platform"
	"cygnet/nhrpd/stopped"
)

// Exit codes besides 0. Go itself ends a program that crashes, or that systemd's watchdog ends by
// SIGABRT, with 2. The unit has systemd start the daemon again after that, and not after exitUsage.
const (
	exitFailed = 1
	exitUsage  = 64 // EX_USAGE of sysexits.h
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("cygnetd", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: cygnetd [-config FILE] [-check | -guard | -leave | -version]")
		flags.PrintDefaults()
	}
	path := flags.String("config", config.DefaultPath, "the configuration `file`")
	check := flags.Bool("check", false, "check the configuration, print what is wrong with it, and exit; cygnet check also checks this host")
	guard := flags.Bool("guard", false, "block clear GRE of the configured interfaces, as the daemon does, and exit")
	leave := flags.Bool("leave", false, "remove what a stopped daemon left: SAs, routes, its tunnels, the block on clear GRE; and exit")
	version := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "cygnetd: unexpected argument %q; the configuration file is named with -config\n", flags.Arg(0))
		return exitUsage
	}
	if wrong := together(
		map[string]bool{"-check": *check, "-guard": *guard, "-leave": *leave, "-version": *version},
	); wrong != "" {
		fmt.Fprintf(stderr, "cygnetd: %s exclude each other; give one of them\n", wrong)
		return exitUsage
	}
	if *version {
		fmt.Fprintln(stdout, "cygnetd", api.Version)
		return 0
	}
	if err := keepMemory(); err != nil {
		fmt.Fprintf(stderr, "cygnetd: warning: secrets may end up in core files: %v\n", err)
	}
	if *guard {
		return guardEarly(*path, stderr)
	}
	if *leave {
		return leaveStopped(*path, stderr)
	}
	c, err := config.Load(*path)
	if err != nil {
		fmt.Fprintf(stderr, "cygnetd: not started, the configuration is not valid:\n%v\n", err)
		return exitFailed
	}
	for _, warning := range append(c.Warnings, c.Obstacles...) {
		fmt.Fprintf(stderr, "cygnetd: warning: %s\n", warning)
	}
	if *check {
		fmt.Fprintf(stdout, "%s is valid\n", *path)
		return 0
	}
	if err := serve(*path, c, stderr); err != nil {
		fmt.Fprintf(stderr, "cygnetd: %v\n", err)
		return exitFailed
	}
	return 0
}

// together returns the names of the flags that were given, if they exclude each other; "" if at
// most one was given.
func together(given map[string]bool) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if given[name] {
			names = append(names, name)
		}
	}
	if len(names) < 2 {
		return ""
	}
	return strings.Join(names, " and ")
}

// guardEarly blocks clear GRE for the interfaces of a configuration, even if other parts of the
// configuration are wrong. It runs before the network is up, when blocking too much can still be
// put right, but clear GRE that has left cannot.
func guardEarly(path string, stderr io.Writer) int {
	code := 0
	c, err := config.LoadFaulty(path)
	if err != nil {
		fmt.Fprintf(stderr, "cygnetd: the configuration is not valid; clear GRE is blocked for those of its interfaces that can be read:\n%v\n", err)
		code = exitFailed
	}
	if c == nil {
		return code
	}
	if err := stopped.GuardEarly(c, stderr); err != nil {
		return exitFailed
	}
	return code
}

// leaveStopped removes what a stopped daemon left. It needs only the paths of sockets and the names
// of interfaces, so it uses as much of a faulty configuration as can be read, and the defaults if
// there is none.
func leaveStopped(path string, stderr io.Writer) int {
	c, err := config.LoadFaulty(path)
	if c == nil {
		c, err = config.Parse(nil, path)
	}
	if c == nil {
		fmt.Fprintf(stderr, "cygnetd: %v\n", err)
		return exitFailed
	}
	if err := stopped.Leave(context.Background(), c, stderr); err != nil {
		fmt.Fprintf(stderr, "cygnetd: not everything was removed: %v\n", err)
		return exitFailed
	}
	return 0
}

// gcPercent is by how many percent the heap may grow between collections, unless GOGC is set. It is
// half of Go's default: in steady operation the daemon allocates almost nothing, so collecting
// earlier costs nothing, and a hub of 10,000 clients uses a seventh less memory.
const gcPercent = 50

// serve runs the daemon until SIGTERM or SIGINT. Both leave the network unchanged. SIGHUP reloads
// the configuration.
func serve(path string, c *config.Config, logTo io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	d := nhrpd.New(path, c, platform.Linux(c), logTo)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-hangups:
				d.ReloadAndLog(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
	return d.Run(ctx)
}
