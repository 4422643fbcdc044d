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
shortcut, resolution (under way) or answer (given, and not expired). FLAPS (--wide) is how often the peer lost its SA in
the last hour. With --history, what happened to the peers that fit FILTER follows, as cygnet events lists it.` + "\n" + listHelp

const bindingsHelp = `Lists which overlay address (PROTOCOL) is reached at which underlay address (NBMA): the clients that registered here,
and the static maps of the configuration. CLIENT SAYS is the address that the client states, if that differs: the
client is behind NAT. PREFIXES are the networks behind a client that it announced.` + "\n" + listHelp

const shortcutsHelp = `Lists the direct paths to other spokes. STATE is resolving (the request is out), securing (answered, waits for IPsec),
up, or impossible (there can be none: REASON says why, and the traffic takes the hub). ROUTE (--wide) is whole, halves
or host table: the last two leave the place of the prefix to a routing protocol's own route. A shortcut ends when it is
not used for the idle_time of the configuration.` + "\n" + listHelp

const nhsHelp = `Lists the next hop servers that this router registers with. STATE is unresolved (the name has no address), securing
(waits for IPsec), registering (waits for the reply), registered, refused or left. PREFIXES are those of this router
that the server accepted.`

const routesHelp = `Lists the routes of the shortcuts and those to prefixes that clients announced, and whether the kernel has them.`

const sasHelp = `Lists the IKE_SAs of the daemon's peers with a row for each child, as strongSwan lists them. ID (--wide) is the one that
swanctl --terminate --ike-id takes. TOTAL IN and TOTAL OUT are the bytes that the kernel has counted until now for this
child and the earlier children that it replaced when keys changed; IN and OUT (--wide) are those of this child alone,
as swanctl --list-sas shows them. If strongSwan does not answer, a note says how old the list is.`

const explainHelp = `Explains step by step why packets to DESTINATION go the way they go, with the evidence of each step and its time:
the kernel's route and who put it there, the tunnel, the next hop and its neighbour, the shortcut or the question for
one (when it was asked, of whom, and what came back), the SAs as the daemon, charon and the kernel have them, whether
data is accepted, and which rule decides. The first line is the verdict: directly, by the hub and why, or nowhere.
  explain DESTINATION              of this router's packets, and of those of the networks behind it
  explain DESTINATION from SOURCE  on a hub: of the packets that it forwards from one spoke to another
While the daemon does not run, the command shows what the kernel and charon have; --config FILE says which charon. It
changes and sends nothing.`

const resolveHelp = `Asks now for a direct path to ADDRESS, whatever the wait since an earlier question, and shows who was asked, who
answered and what. What follows is what follows from an indication of a hub: if the answer is good, an SA and a
shortcut. The command waits for 10 seconds at most. The exit code is 5 if there is no direct path then.`

const pingHelp = `Sends NHRP packets through the tunnel to the router with an overlay address or an underlay address ADDRESS, which this
router has to know, and says what the answers prove: a small probe, then one of the tunnel's MTU. A router that
answers no probes gets a plain resolution request for its own address. The exit code is 5 if nothing was answered. A
ping changes nothing: it proves no path for the daemon, and none fails by it.`

const netcheckHelp = `  netcheck [NHS|INTERFACE…] [--config FILE]
Checks the way to each NHS, or to those named, and says of each part whether it is good, deserves a look or is wrong,
and what to do:
  name   the addresses that the resolver gives, and those that the daemon uses
  route  the device, the source address and the route that lead there, and what the device takes
  IKE    whether ports 500 and 4500 answer, to a message of an IKE version that does not exist
  NAT    the address that this router sends from, and the one that the NHS sees
  ESP    plain or in UDP, and whether it arrives both ways
  MTU    the longest packet that passes the tunnel and back, if the NHS answers Cygnet's probes
and on this router the clock, certificates, charon and the daemon. While the daemon does not run, the NHSs are those of
the configuration, and nothing is sent through the tunnel. netcheck changes nothing and sends some 100 packets to an
NHS at most. It takes seconds, and up to half a minute for an NHS that does not answer. The exit code is 5 if something
is wrong, 6 if something deserves a look.`

const clearHelp = `Ends state at once, and says what that does and costs. The command asks for no confirmation.
  clear shortcut ADDRESS  the shortcuts whose prefix contains the address, or whose next hop has it; also the wait
                          before the address is asked for again, and the cool-down of a path that failed
  clear peer ADDRESS      the SAs with the router at that underlay or overlay address; those needed are made anew
  clear binding ADDRESS   on a hub, the registration of that overlay address, with the SA of its client, so that the
                          client registers again`

const registerHelp = `  register now [INTERFACE]
Registers at once with the next hop servers that are used or tried, on the interface or on all without a name, waits
some seconds for their replies and shows the state of each registration. A registration that is there holds meanwhile.
The exit code is 5 if none is registered.`

const monitorHelp = `  monitor [--peer PEER] [--interface NAME] [--type TYPE] [-w FILE]
Shows each NHRP packet as it comes and goes, with every field and extension, and what the daemon made of it: accepted,
held until its sender has an SA, or dropped and why. Of a malformed packet it shows the fault, the header as far as it
can be read, and the first 96 bytes. PEER is an overlay address, an underlay address or a part of an identity. TYPE is
resolution-request, resolution-reply, registration-request, registration-reply, purge-request, purge-reply,
error-indication or traffic-indication. With -w the packets go to FILE in the pcap format, for Wireshark and tshark; the
headers of IP and GRE in front of each are made up from the addresses. FILE is written only once the daemon answers; a
new one belongs to its owner alone. Passwords are replaced by as many x. The command ends when it is interrupted. A
reader that is too slow loses packets and is told how many. Nothing is copied while nobody watches.`

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

const reloadHelp = `  reload [--dry-run]
Has the daemon read its configuration file again and apply it, and tells for each interface what changed and what that
interrupts. Other interfaces go on untouched. With --dry-run nothing is changed. systemctl reload cygnetd does the same.
A faulty file changes nothing; the exit code is then 4. It is 5 if an interface that was started does not work.`

const drainHelp = `  drain [INTERFACE] [--for TIME] [--off]
Asks the clients of this hub away, on the interface or on all without a name: registrations are refused with code 5,
also those that are refreshed. A spoke of Cygnet's registers with its next hub first and leaves this one then, so that
nothing is lost, within a third of its holding time. A client without another hub stays until its registration expires.
With --for the command waits until no client is left, that long at most, and exits with 6 if some are. --off takes
clients again, and so does a restart of the daemon.`

const reportHelp = `  report [-w FILE] [--config FILE]
Writes a compressed tar file with all that helps to find a fault on this router: the status, events of the last day,
SAs, metrics and check; the configuration without secrets, comments and unknown keys; the kernel's devices, addresses,
rules, routes, neighbours, IPsec policies and states without keys; charon's SAs, connections, certificates and
figures; the logs; versions. CONTENTS in it lists the files, and what could not be had. A file that would have a
pre-shared key or an NHRP password of the configuration in it is left out. The file is for its owner only; without -w
its name has the time. Run it as root: others cannot read all of that.`

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
