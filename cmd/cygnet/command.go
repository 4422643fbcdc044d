package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/preflight"
)

// command is one subcommand.
type command struct {
	name     string
	argument string // as the usage shows it; empty: it takes none
	summary  string
	detail   string
	run      func(in *invocation, argument string) error
}

// commands lists the subcommands in the order of the help. It is a function because help itself is one of them.
func commands() []command {
	return []command{
		{"status", "", "what the daemon does, what is wrong first", statusHelp, showStatus},
		{"peers", "", "the other routers and their security", peersHelp, showPeers},
		{"bindings", "", "the clients registered here, and static maps", bindingsHelp, showBindings},
		{"shortcuts", "", "direct paths to other spokes", shortcutsHelp, showShortcuts},
		{"nhs", "", "the next hop servers and our registrations", nhsHelp, showNHS},
		{"routes", "", "the routes of the shortcuts", routesHelp, showRoutes},
		{"sas", "", "the IKE and ESP SAs, as strongSwan lists them", sasHelp, showSAs},
		{"leave", "[INTERFACE]", "say goodbye to the network", leaveHelp, leave},
		{"check", "[FILE]", "check a configuration, without the daemon", checkHelp, check},
		{"version", "", "the versions of cygnet and of the running daemon", versionHelp, showVersion},
		{"help", "[COMMAND]", "this list, or more about one command", helpHelp, help},
	}
}

// invocation is one call of the program.
type invocation struct {
	ctx    context.Context
	now    func() time.Time
	host   preflight.Host // that check looks at
	socket string
	json   bool
	out    bytes.Buffer
}

// usageError is a fault in the arguments.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text + "\ntry: cygnet help" }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

func (in *invocation) run(args []string) error {
	words, wantsHelp, err := in.parse(args)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		if wantsHelp {
			return help(in, "")
		}
		return usagef("no command given")
	}
	c, err := find(words[0])
	if err != nil {
		return err
	}
	if wantsHelp {
		return help(in, c.name)
	}
	arguments := words[1:]
	switch {
	case len(arguments) > 0 && c.argument == "":
		return usagef("%s takes no argument, found %q", c.name, arguments[0])
	case len(arguments) > 1:
		return usagef("%s takes one argument, found %q", c.name, arguments)
	case len(arguments) == 1:
		return c.run(in, arguments[0])
	}
	return c.run(in, "")
}

// parse takes the flags, wherever they are, and returns the other words.
func (in *invocation) parse(args []string) (words []string, wantsHelp bool, err error) {
	flags := flag.NewFlagSet("cygnet", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&in.socket, "socket", config.DefaultAPISocket, "")
	flags.BoolVar(&in.json, "json", false, "")
	for {
		err := flags.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			// The flag package stops at -h; what came before and the next word tell which help is wanted.
			return append(words, firstWord(args)...), true, nil
		}
		if err != nil {
			return nil, false, usagef("%v", err)
		}
		if flags.NArg() == 0 {
			return words, false, nil
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
}

// firstWord returns the first argument that is no flag, as a list.
func firstWord(args []string) []string {
	for _, a := range args {
		if a != "" && a[0] != '-' {
			return []string{a}
		}
	}
	return nil
}

func find(name string) (command, error) {
	var names []string
	for _, c := range commands() {
		if c.name == name {
			return c, nil
		}
		names = append(names, c.name)
	}
	if near := config.Nearest(name, names); near != "" {
		return command{}, usagef("there is no command %q; did you mean %q?", name, near)
	}
	return command{}, usagef("there is no command %q", name)
}

// ask returns a client and a context with the time that a question may take.
func (in *invocation) ask() (*api.Client, context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(in.ctx, 10*time.Second)
	return api.Dial(in.socket), ctx, cancel
}

func (in *invocation) printf(format string, args ...any) { fmt.Fprintf(&in.out, format, args...) }

func (in *invocation) printJSON(x any) error {
	e := json.NewEncoder(&in.out)
	e.SetIndent("", "  ")
	return e.Encode(x)
}
