package main

import (
	"io"
	"log/slog"
	"log/syslog"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/snmp"
)

// serveSNMP answers snmpd on the standard input and output, until snmpd ends. With the argument
// figures it writes the figures that the MIB does not have.
func serveSNMP(in *invocation, what string) error {
	client := api.Dial(in.socket)
	switch what {
	case "":
		s := &snmp.Server{Status: client.Status, Log: systemLog()}
		return s.Serve(in.ctx, in.stdin, in.stdout)
	case "figures":
		status, err := client.Status(in.ctx)
		if err != nil {
			return err
		}
		in.out.WriteString(snmp.Figures(status))
		return nil
	}
	return usagef("snmp takes no argument or figures, found %q", what)
}

// systemLog returns a logger that writes to the system's log, if there is one: snmpd takes what is
// written to the standard error for answers.
func systemLog() *slog.Logger {
	var to io.Writer = io.Discard
	if w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_NOTICE, "cygnet-snmp"); err == nil {
		to = w
	}
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey { // the system's log has it
				return slog.Attr{}
			}
			return a
		},
	}))
}

const snmpHelp = `  snmp [figures]
Answers Debian's snmpd, which starts it: pass_persist .1.3.6.1.2.1.71 /usr/bin/cygnet snmp
in snmpd.conf serves the tables of the NHRP MIB (RFC 2677), read only. snmpd's group needs the API: api_view_group =
"Debian-snmp". With figures it prints what the MIB does not have, one figure a line, for snmpd's extend.`
