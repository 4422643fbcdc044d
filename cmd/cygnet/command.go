package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/preflight"
)

// command is one subcommand.
type command struct {
	name     string
	argument string // its argument in the usage; empty: it takes none
	summary  string
	detail   string
	run      func(in *invocation, argument string) error

	// replaces run in a command with several arguments
	runWords func(in *invocation, words []string) error
	flags    []string // flags that it takes in addition to those of all commands
}

// listFlags are the flags of commands that show a list.
var listFlags = []string{"wide", "sort"}

// commands lists the subcommands in the order of the help. It is a function because a variable
// would depend on itself: help, one of the commands, lists them.
func commands() []command {
	return []command{
		{name: "status", summary: "what the daemon does, what is wrong first", detail: statusHelp,
			run: showStatus},
		{name: "peers", argument: "[FILTER]", summary: "the other routers and their security",
			detail: peersHelp, run: showPeers, flags: listFlags},
		{name: "bindings", argument: "[FILTER]",
			summary: "the clients registered here, and static maps", detail: bindingsHelp,
			run: showBindings, flags: listFlags},
		{name: "shortcuts", argument: "[FILTER]", summary: "direct paths to other spokes",
			detail: shortcutsHelp, run: showShortcuts, flags: listFlags},
		{name: "nhs", summary: "the next hop servers and our registrations", detail: nhsHelp,
			run: showNHS, flags: listFlags[:1]},
		{name: "routes", summary: "the routes of shortcuts and announced prefixes",
			detail: routesHelp, run: showRoutes, flags: listFlags[:1]},
		{name: "sas", summary: "the IKE and ESP SAs, as strongSwan lists them", detail: sasHelp,
			run: showSAs, flags: listFlags[:1]},
		{name: "peer", argument: "ACTION [IDENTITY]", summary: "shut an identity out, at once",
			detail: peerHelp, runWords: peer, flags: []string{"for", "wide"}},
		{name: "policy", argument: "test IDENTITY ADDRESS",
			summary: "what a configuration lets an identity be", detail: policyHelp,
			runWords: explainPolicy, flags: []string{"interface", "config"}},
		{name: "leave", argument: "[INTERFACE]", summary: "say goodbye to the network",
			detail: leaveHelp, run: leave},
		{name: "check", argument: "[FILE]", summary: "check a configuration, without the daemon",
			detail: checkHelp, run: check, flags: []string{"offline"}},
		{name: "version", summary: "the versions of cygnet and of the running daemon",
			detail: versionHelp, run: showVersion},
		{name: "help", argument: "[COMMAND]", summary: "this list, or more about one command",
			detail: helpHelp, run: help},
	}
}

// invocation is one run of the program.
type invocation struct {
	ctx    context.Context
	now    func() time.Time
	host   preflight.Host // the host that check looks at
	socket string
	json   bool
	out    bytes.Buffer

	length  time.Duration // --for
	iface   string        // --interface
	config  string        // --config
	offline bool          // --offline
	version bool          // --version
	wide    bool          // --wide
	sort    string        // --sort
	given   []string      // flags used that only some commands take
}

// usageError is a mistake in the arguments.
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
	if in.version && len(words) > 0 {
		return usagef("--version takes no command, found %q", words[0])
	}
	if len(words) == 0 {
		switch {
		case wantsHelp:
			return help(in, "")
		case in.version:
			return showVersion(in, "")
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
	for _, name := range in.given {
		if !slices.Contains(c.flags, name) {
			return usagef("%s takes no --%s", c.name, name)
		}
	}
	switch {
	case c.runWords != nil:
		return c.runWords(in, arguments)
	case len(arguments) > 0 && c.argument == "":
		return usagef("%s takes no argument, found %q", c.name, arguments[0])
	case len(arguments) > 1:
		return usagef("%s takes one argument, found %q", c.name, arguments)
	case len(arguments) == 1:
		return c.run(in, arguments[0])
	}
	return c.run(in, "")
}

// parse reads the flags, wherever they are, and returns the other words.
func (in *invocation) parse(args []string) (words []string, wantsHelp bool, err error) {
	flags := flag.NewFlagSet("cygnet", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&in.socket, "socket", config.DefaultAPISocket, "")
	flags.BoolVar(&in.json, "json", false, "")
	flags.Func("for", "", func(s string) (err error) {
		in.length, err = config.ParseDuration(s)
		return err
	})
	flags.BoolVar(&in.wide, "wide", false, "")
	flags.StringVar(&in.sort, "sort", "", "")
	flags.BoolVar(&in.version, "version", false, "")
	flags.StringVar(&in.iface, "interface", "", "")
	flags.BoolVar(&in.offline, "offline", false, "")
	flags.StringVar(&in.config, "config", config.DefaultPath, "")
	for {
		err := flags.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			// The flag package stops at -h. The words before it and the next word tell which help
			// is wanted.
			return append(words, firstWord(args)...), true, nil
		}
		if err != nil {
			return nil, false, usagef("%v", err)
		}
		if flags.NArg() == 0 {
			flags.Visit(func(f *flag.Flag) {
				if f.Name != "socket" && f.Name != "json" && f.Name != "version" {
					in.given = append(in.given, f.Name)
				}
			})
			return words, false, nil
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
}

// firstWord returns a list of the first argument that is not a flag; empty if there is none.
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

// ask returns a client, and a context that limits how long a question may take.
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
