package main

import (
	"log/slog"
	"path/filepath"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/hooks"
)

// runHooks runs the programs of a folder for what happens, until it is interrupted.
func runHooks(in *invocation, folder string) error {
	if folder == "" {
		folder = "/etc/cygnet/hooks.d"
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	r := &hooks.Runner{
		Dir:   folder,
		State: in.state,
		Time:  hooks.RunTime,
		Log:   slog.New(slog.NewTextHandler(in.stderr, nil)),
	}
	return r.Run(in.ctx, api.Dial(in.socket))
}

const hooksHelp = `  hooks [FOLDER] [--state FILE]
Runs the programs of FOLDER (/etc/cygnet/hooks.d) when something happens, until it is interrupted: the unit
cygnet-hooks.service does so. A program gets the name of the hook as its argument and the event as a JSON object on its
standard input. The hooks are peer-up, peer-down, registered, refused, shortcut-up, shortcut-down, hub-lost and
hub-back. The programs run one after another, each for at most ten seconds. With --state, a restart goes on with the
event after the last one that was handled.`
