package main

import (
	"fmt"
	"text/tabwriter"
)

const exitHelp = `exit codes: 0 done, 1 an error, 2 wrong arguments, 3 the daemon is not running,
            4 refused, by the daemon or for want of permission,
            5 done, and the answer is no: status found errors, policy test refuses,
            6 done, with warnings only`

func help(in *invocation, about string) error {
	if about != "" {
		return helpOn(in, about)
	}
	in.printf("cygnet shows and steers cygnetd, the DMVPN daemon.\n\nusage: cygnet [--socket PATH] [--json] COMMAND [ARGUMENT]\n\n")
	w := tabwriter.NewWriter(&in.out, 0, 8, 2, ' ', 0)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %s %s\t%s\n", c.name, c.argument, c.summary)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	in.printf("\n  --socket PATH  the daemon's API socket (default /run/cygnet/cygnet.sock)\n" +
		"  --json         write JSON for programs\n" +
		"  --wide         all columns of a table, which else fits 80\n" +
		"  --version      what cygnet version shows\n\n" + exitHelp + "\n")
	return nil
}

func helpOn(in *invocation, about string) error {
	c, err := find(about)
	if err != nil {
		return err
	}
	argument := ""
	if c.argument != "" {
		argument = " " + c.argument
	}
	in.printf("usage: cygnet [--socket PATH] [--json] %s%s\n\n%s\n", c.name, argument, c.detail)
	return nil
}

const statusHelp = `Shows what the daemon does: what is wrong first, then each interface with its registrations, clients,
shortcuts and peers in numbers, the packets counted, and advice on settings of this host that limit the daemon.
The exit code is 0 only if nothing is wrong, 5 with an error and 6 with warnings only.`

const listHelp = `
FILTER is an address, a prefix that one of an entry's addresses is in, or a part of an identity. --sort COLUMN sorts
by a column of the wide table, in whose name a space is a hyphen; --sort -COLUMN the other way round. --wide shows all
columns.`

const peersHelp = `Lists the other routers by the address that they are reached at. STATE is the security of the peer: absent, securing
or secured. IN and OUT tell when data last passed. WANTED FOR says why the daemon keeps the peer: nhs, binding,
shortcut, resolution (under way) or answer (given, and not expired).` + "\n" + listHelp

const bindingsHelp = `Lists which overlay address (PROTOCOL) is reached at which underlay address (NBMA): the clients that registered here,
and the static maps of the configuration. CLIENT SAYS is the client's own idea of its address where that differs:
it is behind NAT. PREFIXES are the networks behind a client that it announced.` + "\n" + listHelp

const shortcutsHelp = `Lists the direct paths to other spokes. STATE is resolving (the request is out), securing (answered, waits for IPsec)
or up. A shortcut ends when it is not used for the idle_time of the configuration.` + "\n" + listHelp

const nhsHelp = `Lists the next hop servers that this router registers with. STATE is unresolved (the name has no address), securing
(waits for IPsec), registering (waits for the reply), registered, refused or left. PREFIXES are those of this router
that the server accepted.`

const routesHelp = `Lists the routes of the shortcuts and those to prefixes that clients announced, and whether the kernel has them.`

const sasHelp = `Lists the IKE_SAs of the daemon's peers with a row for each child, as strongSwan lists them. ID (--wide) is the one that
swanctl --terminate --ike-id takes. TOTAL IN and TOTAL OUT are the bytes that the kernel counts at this moment, with
those of the children before whose place this one took when keys changed; IN and OUT (--wide) are those of this child
alone, as swanctl --list-sas shows them. Where strongSwan does not answer, it is said how old the list is.`

const peerHelp = `Shuts a router out by its IKE identity, at once and on this router only: what it registered ends, those who were
led to it are told, its SAs are closed, and it gets no new ones. That outlasts a restart of the daemon.
  peer block IDENTITY [--for DURATION]  until unblock, or for a time such as 90m or 1d
  peer unblock IDENTITY                 it may come back
  peer blocked                          who is shut out
A certificate may prove several identities, and a key that all routers share proves none: block all the names in the
certificate, and revoke it. Peer rules that name what may come (see cygnet.toml(5)) need no such list.`

const policyHelp = `Explains what a configuration would let an identity have: which peer rule matches it, what its captures are, and
what each key of the rule says to the overlay address or the prefix. It needs no daemon and no secrets.
  policy test IDENTITY ADDRESS|PREFIX [--interface NAME] [--config FILE]
FILE is /etc/cygnet/cygnet.toml without the flag; without --interface all interfaces are asked. The exit code is 0 if it
is allowed on one of them, and 5 if not. What is in use already, or overlaps with networks of the router, is refused
by the daemon all the same.`

const leaveHelp = `Says goodbye on the interface, on all without a name: what was registered and answered is purged, the routes and
neighbours are removed, the SAs closed. It asks for no confirmation. The interface stays inactive until the daemon
reloads its configuration or is restarted. Stopping or restarting the daemon does none of this: the network stays.`

const checkHelp = `  check [FILE] [--offline]
Checks a configuration, /etc/cygnet/cygnet.toml without a name, the secrets that it names, and the connections of
swanctl.conf that it names, with the line there that is to be changed. It says what cygnetd would say, and needs
neither daemon nor charon.

Then it looks at this host for what a valid configuration lacks: the devices and addresses that it names, the group of
the API, features of the kernel (as root, by trying them in a network namespace of its own), kernel settings, charon's
settings in /etc/strongswan.conf, certificates and keys in /etc/swanctl and when they expire. It needs no charon for
that. With --offline the host is left out, for a file of another machine.

The exit code is 0 only if the daemon starts with the file on this host and can do its work; 6 if something is not there
yet, such as a PPPoE device or an address by DHCP, or could not be looked at; 5 if it cannot work on this host; 1 if the
file is not valid, so that the daemon would not start.`

const versionHelp = `Shows the versions of this program and of the daemon, if it runs.`

const helpHelp = `Shows the list of commands, or more about one of them.`
