package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/preflight"
)

func leave(in *invocation, iface string) error {
	client := api.Dial(in.socket)
	where := iface
	if iface == "" {
		where = active(in.ctx, client)
	}
	if err := client.Leave(in.ctx, iface); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	if in.json {
		return in.printJSON(api.LeaveRequest{Interface: iface})
	}
	if where == "" {
		in.printf("Nothing to say goodbye on: no interface is active. systemctl reload cygnetd makes those that are configured join again.\n")
		return nil
	}
	sas := ", SAs closed.\n"
	if status, err := client.Status(in.ctx); err == nil &&
		left(status, iface, func(i api.Interface) bool {
			return i.Protected
		}) && !status.StrongSwan.Connected {
		sas = ".\nSAs are NOT closed, since strongSwan does not answer: once it does, swanctl --terminate closes those that are left.\n"
	}
	in.printf("Said goodbye on %s: registrations and answers purged, shortcut routes and neighbours removed%s"+
		"It stays inactive until the daemon reloads its configuration or is restarted.\n",
		clean(where), sas)
	return nil
}

// left reports whether an interface has left that asked selects. If name is not empty, only the
// interface of that name counts.
func left(s *api.Status, name string, asked func(api.Interface) bool) bool {
	return slices.ContainsFunc(s.Interfaces, func(i api.Interface) bool {
		return i.Left && (name == "" || i.Name == name) && asked(i)
	})
}

// active returns the names of the interfaces that have not left.
func active(ctx context.Context, client *api.Client) string {
	status, err := client.Status(ctx)
	if err != nil {
		return "all interfaces"
	}
	var names []string
	for _, i := range status.Interfaces {
		if !i.Left {
			names = append(names, i.Name)
		}
	}
	return strings.Join(names, ", ")
}

// checked is the JSON output of check.
type checked struct {
	File     string   `json:"file"`
	Valid    bool     `json:"valid"`
	Problems []fault  `json:"problems"`
	Warnings []string `json:"warnings"`
	// what keeps an interface from working, as far as the files show
	Doubts []string `json:"doubts"`

	// what this host lacks for it; empty if the file is not valid
	Host []preflight.Finding `json:"host"`
}

// fault is one fault of a configuration.
type fault struct {
	// absent: the checked file; otherwise a file that it names, such as swanctl.conf
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"` // absent: the file as a whole
	Key  string `json:"key,omitempty"`
	Text string `json:"text"`
}

func check(in *invocation, file string) error {
	if file == "" {
		file = config.DefaultPath
	}
	cfg, err := config.Load(file)
	if in.json {
		return in.checkJSON(file, cfg, err)
	}
	if err != nil {
		return checkFailed(file, err)
	}
	for _, w := range cfg.Warnings {
		in.printf("warning: %s\n", clean(w))
	}
	in.printf("%s is valid: %s\n", clean(file), interfaces(cfg))
	in.bullets("WRONG", cfg.Obstacles)
	found := in.checkHost(cfg)
	in.bullets("WRONG ON THIS HOST", texts(found, preflight.Error))
	in.bullets("WARNINGS FOR THIS HOST", texts(found, preflight.Warning))
	in.bullets("ADVICE FOR THIS HOST", texts(found, preflight.Advice))
	return checkVerdict(cfg, found)
}

// checkHost checks whether this host has what the configuration needs, unless --offline says that
// the configuration is for another host.
func (in *invocation) checkHost(cfg *config.Config) []preflight.Finding {
	if in.offline {
		return nil
	}
	return in.host.Check(cfg)
}

func texts(found []preflight.Finding, severity preflight.Severity) []string {
	var lines []string
	for _, f := range found {
		if f.Severity == severity {
			lines = append(lines, f.String())
		}
	}
	return lines
}

// checkVerdict returns the outcome for a valid configuration. It is nil only if the daemon can do
// its work with it on this host.
func checkVerdict(cfg *config.Config, found []preflight.Finding) error {
	switch worst := preflight.Worst(found); {
	case len(cfg.Obstacles) > 0 || worst == preflight.Error:
		return outcome(exitWrong)
	case worst == preflight.Warning:
		return outcome(exitWarning)
	}
	return nil
}

// checkFailed returns an error that lists the problems, each on a line of its own, after their
// number.
func checkFailed(file string, err error) error {
	found := faults(err)
	switch len(found) {
	case 0:
		return err
	case 1:
		return fmt.Errorf("%s is not valid, cygnetd would not start:\n%w", file, err)
	}
	return fmt.Errorf("%s has %d problems, cygnetd would not start:\n%w", file, len(found), err)
}

func (in *invocation) checkJSON(file string, cfg *config.Config, err error) error {
	result := checked{
		File: file, Valid: err == nil, Problems: []fault{}, Warnings: []string{},
		Doubts: []string{}, Host: []preflight.Finding{},
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return err
	}
	for _, p := range faults(err) {
		found := fault{File: p.File, Line: p.Line, Key: p.Key, Text: p.Text}
		if p.File == file {
			found.File = ""
		}
		result.Problems = append(result.Problems, found)
	}
	if err != nil && len(result.Problems) == 0 {
		return err
	}
	if cfg != nil {
		result.Warnings = append(result.Warnings, cfg.Warnings...)
		result.Doubts = append(result.Doubts, cfg.Obstacles...)
		result.Host = append(result.Host, in.checkHost(cfg)...)
	}
	if jerr := in.printJSON(result); jerr != nil {
		return jerr
	}
	if err != nil {
		return checkFailed(file, err)
	}
	return checkVerdict(cfg, result.Host)
}

// faults returns the problems that a configuration's error joins.
func faults(err error) []*config.Problem {
	var all []*config.Problem
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			all = append(all, faults(e)...)
		}
		return all
	}
	var p *config.Problem
	if errors.As(err, &p) {
		return []*config.Problem{p}
	}
	return nil
}

func interfaces(cfg *config.Config) string {
	if len(cfg.Interfaces) == 0 {
		return "no interface"
	}
	var words []string
	for _, i := range cfg.Interfaces {
		protection := "protected by IPsec"
		if !i.Protected {
			protection = "NOT PROTECTED"
		}
		if i.IPsec != nil && i.IPsec.SwanctlConnection != "" {
			protection += " as " + i.IPsec.SwanctlConnection + " of " + i.IPsec.SwanctlConf
		}
		words = append(words,
			fmt.Sprintf("%s (%s on %s, %s)", i.Name, i.Address, i.Underlay, protection))
	}
	return strings.Join(words, ", ")
}

// versions is the JSON output of version.
type versions struct {
	Cygnet  api.VersionInfo  `json:"cygnet"`
	Cygnetd *api.VersionInfo `json:"cygnetd,omitempty"` // absent: the daemon is not running
}

// showVersion shows the versions. It also works without a daemon.
func showVersion(in *invocation, _ string) error {
	client, ctx, cancel := in.ask()
	defer cancel()
	v := versions{Cygnet: api.VersionInfo{Version: api.Version, Go: runtime.Version()}}
	daemon, err := client.Version(ctx)
	if err == nil {
		v.Cygnetd = daemon
	}
	if in.json {
		return in.printJSON(v)
	}
	in.printf("cygnet  %s (%s)\n", v.Cygnet.Version, v.Cygnet.Go)
	if err != nil {
		in.printf("cygnetd unknown: %v\n", err)
		return nil
	}
	in.printf("cygnetd %s (%s)\n", clean(daemon.Version), clean(daemon.Go))
	return nil
}
