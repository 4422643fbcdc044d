package main

import (
	"fmt"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
)

// reload has the daemon read its configuration file and apply it, or with --dry-run only tell what
// that would change.
func reload(in *invocation, _ string) error {
	report, err := api.Dial(in.reloadSocket()).Reload(in.ctx, in.dryRun)
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	if in.json {
		if err := in.printJSON(report); err != nil {
			return err
		}
		return reloadVerdict(report)
	}
	for _, w := range report.Warnings {
		in.printf("warning: %s\n", clean(w))
	}
	for i := range report.Interfaces {
		in.reloaded(&report.Interfaces[i], report.DryRun)
	}
	if report.NextStart {
		in.printf("Changes in [daemon], and of format in [log], take effect with the next start: systemctl restart cygnetd\n")
	}
	if report.DryRun {
		in.printf("Nothing has been changed.\n")
	}
	return reloadVerdict(report)
}

// reloadSocket returns the daemon's socket. Nobody names it to systemctl, so where no daemon
// listens at the usual place, the configuration tells it.
func (in *invocation) reloadSocket() string {
	if in.socket != config.DefaultAPISocket {
		return in.socket
	}
	if _, err := api.Dial(in.socket).Version(in.ctx); err == nil {
		return in.socket
	}
	if c, _ := config.LoadFaulty(config.DefaultPath); c != nil {
		return c.Daemon.APISocket
	}
	return in.socket
}

// actions puts into words what a reload did, and what a dry run found that it would do.
var actions = map[api.ReloadAction][2]string{
	api.ReloadKept:    {"unchanged", "unchanged"},
	api.ReloadAdded:   {"added", "would be added"},
	api.ReloadRemoved: {"removed, with a goodbye", "would be removed, with a goodbye"},
	api.ReloadJoined:  {"joined again", "would join again"},
	api.ReloadChanged: {"goes on, with new settings", "would go on, with new settings"},
	api.ReloadRenewed: {
		"started anew on its tunnel: neighbours, routes and SAs stayed",
		"would start anew on its tunnel: neighbours, routes and SAs stay",
	},
}

// reloaded tells of one interface.
func (in *invocation) reloaded(r *api.ReloadedInterface, dryRun bool) {
	words := actions[r.Action][0]
	if dryRun {
		words = actions[r.Action][1]
	}
	in.printf("%s  %s\n", clean(r.Name), words)
	for _, c := range r.Changes {
		in.printf("  %s: %s\n", clean(c.Key), values(c))
		if c.Interrupts != "" {
			in.printf("    interrupts: %s\n", clean(c.Interrupts))
		}
	}
	if r.Error != "" {
		in.printf("  DOES NOT WORK: %s\n", clean(r.Error))
	}
}

// values puts into words how a setting changes.
func values(c api.Change) string {
	switch {
	case c.From == c.To:
		return "another one"
	case c.From == "":
		return clean(c.To) + ", none before"
	case c.To == "":
		return "none, before " + clean(c.From)
	}
	return clean(c.To) + ", before " + clean(c.From)
}

// reloadVerdict returns the exit code: it is not 0 if an interface that the reload started does not
// work.
func reloadVerdict(report *api.Reloaded) error {
	for _, r := range report.Interfaces {
		if r.Error != "" {
			return outcome(exitWrong)
		}
	}
	return nil
}
