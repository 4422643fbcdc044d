package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/netcheck"
	"cygnet/nhrpd/netcheck/collect"
	"cygnet/nhrpd/preflight"
)

// netcheckTime is the longest time that netcheck takes.
const netcheckTime = 3 * time.Minute

// checkPaths checks the ways to the NHSs, and tells of each part whether it is good.
func checkPaths(in *invocation, only []string) error {
	ctx, cancel := context.WithTimeout(in.ctx, netcheckTime)
	defer cancel()
	r := &netcheck.Report{Now: in.now().UTC(), File: in.config}
	c := collect.Collector{
		Host:     in.evidence.paths,
		Daemon:   api.Dial(in.socket),
		Kernel:   in.evidence.kernel,
		Only:     only,
		Progress: in.progress,
	}
	socket := config.DefaultVICISocket()
	if cfg, err := config.Load(in.config); err != nil {
		r.FileError = fmt.Sprintf("%s cannot be used: %v", in.config, err)
		r.FileDenied = errors.Is(err, fs.ErrPermission)
	} else {
		c.Config, socket = cfg, cfg.Daemon.VICISocket
		c.Certificates = certificatesOf(in.host.Certificates(cfg))
	}
	c.Charon = in.evidence.charon(socket)
	if err := c.Collect(ctx, r); err != nil {
		return usagef("%v", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("netcheck was stopped before its end: %w", err)
	}
	netcheck.Judge(r)
	if err := in.printPaths(r); err != nil {
		return err
	}
	switch r.Verdict {
	case netcheck.Wrong:
		return outcome(exitWrong)
	case netcheck.Look:
		return outcome(exitWarning)
	}
	return nil
}

// printPaths writes the report.
func (in *invocation) printPaths(r *netcheck.Report) error {
	if in.json {
		return in.printJSON(r)
	}
	for _, line := range netcheck.Lines(r) {
		in.printf("%s\n", clean(line))
	}
	return nil
}

// progress tells people what is done next. It goes to the standard error output, since the report
// is not there yet.
func (in *invocation) progress(format string, args ...any) {
	if !in.json {
		fmt.Fprintf(in.stderr, "%s …\n", clean(fmt.Sprintf(format, args...)))
	}
}

// certificatesOf returns the findings about the certificates of each interface.
func certificatesOf(found []preflight.Finding) map[string][]netcheck.Certificate {
	all := make(map[string][]netcheck.Certificate)
	for _, f := range found {
		verdict := netcheck.Look
		if f.Severity == preflight.Error {
			verdict = netcheck.Wrong
		}
		all[f.Interface] = append(all[f.Interface],
			netcheck.Certificate{Verdict: verdict, Text: f.Text})
	}
	return all
}
