# fish completion for cygnet

function __cygnet_interfaces
    for path in /sys/class/net/*
        # 778 and 823 are GRE over IPv4 and over IPv6.
        contains (cat $path/type 2>/dev/null) 778 823; and basename $path
    end
end

set -l commands status peers bindings shortcuts nhs routes sas events explain resolve ping netcheck clear register monitor peer policy leave reload drain log hooks web snmp report check version help

complete -c cygnet -f
complete -c cygnet -l socket -r -F -d 'the API socket of the daemon'
complete -c cygnet -l json -d 'write JSON for programs'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -l version -d 'what cygnet version shows'
complete -c cygnet -n '__fish_seen_subcommand_from peers bindings shortcuts nhs routes sas peer register' -l wide -d 'all columns of a table'
complete -c cygnet -n '__fish_seen_subcommand_from peers bindings shortcuts' -l sort -x -d 'the column to sort by'
complete -c cygnet -n '__fish_seen_subcommand_from check' -l offline -d 'check a file of another machine'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a status -d 'what the daemon does, what is wrong first'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a peers -d 'the other routers and their security'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a bindings -d 'the clients registered here, and static maps'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a shortcuts -d 'direct paths to other spokes'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a nhs -d 'the next hop servers and our registrations'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a routes -d 'the routes of shortcuts and announced prefixes'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a sas -d 'the IKE and ESP SAs, as strongSwan lists them'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a events -d 'what happened, and why'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a peer -d 'shut an identity out, at once'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a explain -d 'why traffic to an address goes the way it goes'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a resolve -d 'ask for a direct path now'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a ping -d 'an NHRP round trip to a router'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a netcheck -d 'check the ways to the next hop servers'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a clear -d 'end a shortcut, an SA or a binding'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a register -d 'register with the next hop servers at once'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a policy -d 'what a configuration lets an identity be'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a leave -d 'say goodbye to the network'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a reload -d 'read the configuration file again'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a drain -d 'ask the clients of this hub away'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a log -d 'set the level of the log of the daemon, at once'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a hooks -d 'run programs when something happens'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a snmp -d 'serve the NHRP MIB to snmpd, which runs it'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a check -d 'check a configuration, without the daemon'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a version -d 'the versions of cygnet and of the running daemon'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a help -d 'the list of commands, or more about one command'
complete -c cygnet -n '__fish_seen_subcommand_from leave drain netcheck' -a '(__cygnet_interfaces)' -d interface
complete -c cygnet -n '__fish_seen_subcommand_from check' -F
complete -c cygnet -n '__fish_seen_subcommand_from help' -a "$commands"
complete -c cygnet -n '__fish_seen_subcommand_from peer' -a 'block unblock blocked'
complete -c cygnet -n '__fish_seen_subcommand_from peer' -l for -x -d 'how long to block'
complete -c cygnet -n '__fish_seen_subcommand_from drain' -l for -x -d 'how long to wait'
complete -c cygnet -n '__fish_seen_subcommand_from reload' -l dry-run -d 'change nothing'
complete -c cygnet -n '__fish_seen_subcommand_from drain' -l off -d 'take clients again'
complete -c cygnet -n '__fish_seen_subcommand_from policy' -a test
complete -c cygnet -n '__fish_seen_subcommand_from policy' -l interface -x -a '(__cygnet_interfaces)' -d 'the interface to ask about'
complete -c cygnet -n '__fish_seen_subcommand_from peers' -l history -d 'what happened to them, too'
complete -c cygnet -n '__fish_seen_subcommand_from events' -s f -l follow -d 'go on with what happens'
complete -c cygnet -n '__fish_seen_subcommand_from events' -l peer -x -d 'what concerns this peer only'
complete -c cygnet -n '__fish_seen_subcommand_from events' -l since -x -d 'a number, or how long ago'
complete -c cygnet -n '__fish_seen_subcommand_from log' -a 'debug info warn error default'
complete -c cygnet -n '__fish_seen_subcommand_from log' -l peer -x -d 'what concerns this peer only'
complete -c cygnet -n '__fish_seen_subcommand_from log' -l for -x -d 'how long'
complete -c cygnet -n '__fish_seen_subcommand_from hooks' -F
complete -c cygnet -n '__fish_seen_subcommand_from hooks' -l state -r -F -d 'the file with the last event that was handled'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a web -d 'the mesh in a browser'
complete -c cygnet -n '__fish_seen_subcommand_from web' -l listen -x -d 'the address and port of the page'
complete -c cygnet -n '__fish_seen_subcommand_from web' -l token-file -r -F -d 'the file with the token that browsers give'
complete -c cygnet -n '__fish_seen_subcommand_from web' -l host -x -d 'a name by which browsers reach the page'
complete -c cygnet -n '__fish_seen_subcommand_from snmp' -a figures
complete -c cygnet -n '__fish_seen_subcommand_from clear' -a 'shortcut peer binding'
complete -c cygnet -n '__fish_seen_subcommand_from register' -a 'now (__cygnet_interfaces)'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a monitor -d 'the NHRP packets as they come and go'
complete -c cygnet -n '__fish_seen_subcommand_from monitor' -l peer -x -d 'the peer to watch'
complete -c cygnet -n '__fish_seen_subcommand_from monitor' -l interface -x -a '(__cygnet_interfaces)' -d 'the interface to watch'
complete -c cygnet -n '__fish_seen_subcommand_from monitor' -l type -x -a 'resolution-request resolution-reply registration-request registration-reply purge-request purge-reply error-indication traffic-indication' -d 'the type of messages to watch'
complete -c cygnet -n '__fish_seen_subcommand_from monitor' -s w -r -F -d 'the pcap file to write'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a report -d 'a file with all that helps to find a fault'
complete -c cygnet -n '__fish_seen_subcommand_from report' -s w -r -F -d 'the file to write'
complete -c cygnet -n '__fish_seen_subcommand_from report' -l config -r -F -d 'the configuration to show'
complete -c cygnet -n '__fish_seen_subcommand_from explain' -a from -d 'from where the packets come'
complete -c cygnet -n '__fish_seen_subcommand_from policy explain netcheck' -l config -r -F -d 'the configuration to ask'
