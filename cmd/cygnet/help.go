package main

import (
	"fmt"
	"text/tabwriter"
)

const exitHelp = `exit codes: 0 done, 1 an error, 2 wrong arguments, 3 the daemon is not running,
            4 refused by the daemon, or for lack of permission,
            5 done, and the answer is no: status found errors, policy test refuses,
            6 done, with warnings only`

func help(in *invocation, about string) error {
	if about != "" {
		return helpOn(in, about)
	}
	in.printf("cygnet shows the state of cygnetd, the DMVPN daemon, and controls it.\n\nusage: cygnet [--socket PATH] [--json] COMMAND [ARGUMENT]\n\n")
	w := tabwriter.NewWriter(&in.out, 0, 8, 2, ' ', 0)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %s %s\t%s\n", c.name, c.argument, c.summary)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	in.printf("\n  --socket PATH  the daemon's API socket (default /run/cygnet/cygnet.sock)\n" +
		"  --json         write JSON for programs\n" +
		"  --wide         all columns of a table, not only those that fit 80 characters\n" +
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
FILTER is an address, a prefix that contains one of an entry's addresses, or a part of an identity. --sort COLUMN
sorts by a column of the wide table; write a space in its name as a hyphen. --sort -COLUMN reverses the order. --wide
shows all columns.`

const peersHelp = `Lists the other routers by the address at which they are reached. STATE is the security of the peer: absent, securing
or secured. IN and OUT tell when data last passed. WANTED FOR says why the daemon keeps the peer: nhs, binding,
shortcut, resolution (under way) or answer (given, and not expired).` + "\n" + listHelp

const bindingsHelp = `Lists which overlay address (PROTOCOL) is reached at which underlay address (NBMA): the clients that registered here,
and the static maps of the configuration. CLIENT SAYS is the address that the client states, if that differs: the
client is behind NAT. PREFIXES are the networks behind a client that it announced.` + "\n" + listHelp

const shortcutsHelp = `Lists the direct paths to other spokes. STATE is resolving (the request is out), securing (answered, waits for IPsec)
or up. A shortcut ends when it is not used for the idle_time of the configuration.` + "\n" + listHelp

const nhsHelp = `Lists the next hop servers that this router registers with. STATE is unresolved (the name has no address), securing
(waits for IPsec), registering (waits for the reply), registered, refused or left. PREFIXES are those of this router
that the server accepted.`

const routesHelp = `Lists the routes of the shortcuts and those to prefixes that clients announced, and whether the kernel has them.`

const sasHelp = `Lists the IKE_SAs of the daemon's peers with a row for each child, as strongSwan lists them. ID (--wide) is the one that
swanctl --terminate --ike-id takes. TOTAL IN and TOTAL OUT are the bytes that the kernel has counted until now for this
child and the earlier children that it replaced when keys changed; IN and OUT (--wide) are those of this child alone,
as swanctl --list-sas shows them. If strongSwan does not answer, a note says how old the list is.`

const peerHelp = `Shuts a router out by its IKE identity, at once and on this router only: its registrations end, the routers that have a
shortcut to it are informed, its SAs are closed, and it gets no new ones. The block survives a restart of the daemon.
  peer block IDENTITY [--for DURATION]  until unblock, or for a time such as 90m or 1d
  peer unblock IDENTITY                 the router may come back
  peer blocked                          lists the identities that are shut out
A certificate may prove several identities, and a key that all routers share proves none: block all the names in the
certificate, and revoke it. Peer rules that name the routers which may join (see cygnet.toml(5)) need no such list.`

const policyHelp = `Explains what a configuration would let an identity have: which peer rule matches it, what its captures are, and
whether each key of the rule permits the overlay address or the prefix. It needs no daemon and no secrets.
  policy test IDENTITY ADDRESS|PREFIX [--interface NAME] [--config FILE]
Without --config, FILE is /etc/cygnet/cygnet.toml; without --interface, all interfaces are evaluated. The exit code is 0
if one of them permits it, and 5 if none does. The daemon also refuses what is in use already, or overlaps with
networks of the router.`

const leaveHelp = `Says goodbye on the interface, or on all without a name: registrations and answers are purged, routes and neighbours
are removed, SAs are closed. The command asks for no confirmation. The interface stays inactive until the daemon
reloads its configuration or is restarted. Stopping or restarting the daemon does none of this: the network stays.`

const checkHelp = `  check [FILE] [--offline]
Checks a configuration (/etc/cygnet/cygnet.toml if FILE is not given), the secrets that it names, and the connections of
swanctl.conf that it names. It reports the problems that cygnetd would report, each with its line, and needs neither
daemon nor charon.

For a valid configuration it then checks whether this host has what it needs: the devices and addresses that it names,
the group of the API, features of the kernel (as root, by trying them in a new network namespace), kernel settings,
charon's settings in /etc/strongswan.conf, certificates and keys in /etc/swanctl and when they expire. charon need not
run for that. With --offline the host is not checked, for a file of another machine.

The exit code is 0 only if the daemon would start with the file on this host and could do its work; 6 if something is
still missing, such as a PPPoE device or an address by DHCP, or could not be checked; 5 if the daemon cannot work on
this host; 1 if the file is not valid, so that the daemon would not start.`

const versionHelp = `Shows the versions of this program and of the daemon, if it runs.`

const helpHelp = `Shows the list of commands, or more about one of them.`
