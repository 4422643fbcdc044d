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
	"syscall"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/duration"
	"cygnet/nhrpd/nearest"
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
			detail: peersHelp, run: showPeers, flags: append([]string{"history"}, listFlags...)},
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
		{name: "events", summary: "what happened, and why", detail: eventsHelp, run: showEvents,
			flags: []string{"f", "follow", "peer", "since"}},
		{name: "explain", argument: "DESTINATION [from SOURCE]",
			summary: "why traffic to an address goes the way it goes", detail: explainHelp,
			runWords: explainWay, flags: []string{"config"}},
		{name: "resolve", argument: "ADDRESS", summary: "ask for a direct path now",
			detail: resolveHelp, run: resolve},
		{name: "ping", argument: "ADDRESS", summary: "an NHRP round trip to a router",
			detail: pingHelp, run: ping},
		{name: "netcheck", argument: "[NHS|INTERFACE…]",
			summary: "check the ways to the next hop servers",
			detail:  netcheckHelp, runWords: checkPaths, flags: []string{"config"}},
		{name: "clear", argument: "WHAT ADDRESS",
			summary: "end a shortcut, an SA or a binding", detail: clearHelp,
			runWords: clearState},
		{name: "register", argument: "now [INTERFACE]",
			summary: "register with the next hop servers at once", detail: registerHelp,
			runWords: registerNow, flags: listFlags[:1]},
		{name: "monitor", summary: "the NHRP packets as they come and go", detail: monitorHelp,
			run: monitor, flags: []string{"peer", "interface", "type", "w"}},
		{name: "peer", argument: "ACTION [IDENTITY]", summary: "shut an identity out, at once",
			detail: peerHelp, runWords: peer, flags: []string{"for", "wide"}},
		{name: "policy", argument: "test IDENTITY ADDRESS",
			summary: "what a configuration lets an identity be", detail: policyHelp,
			runWords: explainPolicy, flags: []string{"interface", "config"}},
		{name: "leave", argument: "[INTERFACE]", summary: "say goodbye to the network",
			detail: leaveHelp, run: leave},
		{name: "reload", summary: "read the configuration file again, and tell what that changes",
			detail: reloadHelp, run: reload, flags: []string{"dry-run"}},
		{name: "drain", argument: "[INTERFACE]", summary: "ask the clients of this hub away",
			detail: drainHelp, run: drain, flags: []string{"off", "for"}},
		{name: "log", argument: "LEVEL", summary: "set the level of the daemon's log, at once",
			detail: logHelp, run: setLog, flags: []string{"peer", "for"}},
		{name: "hooks", argument: "[FOLDER]", summary: "run programs when something happens",
			detail: hooksHelp, run: runHooks, flags: []string{"state"}},
		{name: "web", summary: "the mesh in a browser", detail: webHelp, run: serveWeb,
			flags: []string{"listen", "token-file", "host"}},
		{name: "snmp", argument: "[figures]", summary: "serve the NHRP MIB to snmpd, which runs it",
			detail: snmpHelp, run: serveSNMP},
		{name: "report", summary: "a file with all that helps to find a fault", detail: reportHelp,
			run: writeReport, flags: []string{"w", "config"}},
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
	ctx  context.Context
	now  func() time.Time
	host preflight.Host // the host that check looks at
	// where explain looks while the daemon does not run
	evidence evidence
	socket   string
	json     bool
	stdin    io.Reader
	out      bytes.Buffer
	stderr   io.Writer
	stdout   io.Writer // where out goes at the end, or earlier by flush

	length  time.Duration // --for
	iface   string        // --interface
	peer    string        // --peer
	kind    string        // --type
	file    string        // -w
	config  string        // --config
	offline bool          // --offline
	off     bool          // --off
	dryRun  bool          // --dry-run
	version bool          // --version
	wide    bool          // --wide
	sort    string        // --sort
	follow  bool          // --follow, -f
	history bool          // --history
	since   string        // --since
	state   string        // --state
	listen  string        // --listen
	hosts   []string      // --host
	given   []string      // flags used that only some commands take

	tokenFile string // --token-file
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

// usable returns the socket of an API, or the one beside it that only shows, if this process may
// use that one alone.
func usable(socket string) string {
	const write = 2 // of access(2)
	view := config.ViewSocket(socket)
	if syscall.Access(socket, write) == syscall.EACCES && syscall.Access(view, write) == nil {
		return view
	}
	return socket
}

// parse reads the flags, wherever they are, and returns the other words.
func (in *invocation) parse(args []string) (words []string, wantsHelp bool, err error) {
	flags := flag.NewFlagSet("cygnet", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&in.socket, "socket", usable(config.DefaultAPISocket), "")
	flags.BoolVar(&in.json, "json", false, "")
	flags.Func("for", "", func(s string) (err error) {
		in.length, err = duration.Parse(s)
		return err
	})
	flags.BoolVar(&in.wide, "wide", false, "")
	flags.StringVar(&in.sort, "sort", "", "")
	flags.BoolVar(&in.follow, "f", false, "")
	flags.BoolVar(&in.follow, "follow", false, "")
	flags.BoolVar(&in.history, "history", false, "")
	flags.StringVar(&in.peer, "peer", "", "")
	flags.StringVar(&in.state, "state", "", "")
	flags.StringVar(&in.since, "since", "", "")
	flags.StringVar(&in.listen, "listen", defaultWeb, "")
	flags.StringVar(&in.tokenFile, "token-file", "", "")
	flags.Func("host", "", func(s string) error {
		in.hosts = append(in.hosts, s)
		return nil
	})
	flags.BoolVar(&in.version, "version", false, "")
	flags.StringVar(&in.iface, "interface", "", "")
	flags.StringVar(&in.kind, "type", "", "")
	flags.BoolVar(&in.offline, "offline", false, "")
	flags.BoolVar(&in.off, "off", false, "")
	flags.BoolVar(&in.dryRun, "dry-run", false, "")
	flags.StringVar(&in.file, "w", "", "")
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
	if near := nearest.Word(name, names); near != "" {
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
