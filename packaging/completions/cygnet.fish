# fish completion for cygnet

function __cygnet_interfaces
    for path in /sys/class/net/*
        # 778 and 823 are GRE over IPv4 and over IPv6.
        contains (cat $path/type 2>/dev/null) 778 823; and basename $path
    end
end

set -l commands status peers bindings shortcuts nhs routes sas peer policy leave check version help

complete -c cygnet -f
complete -c cygnet -l socket -r -F -d 'the API socket of the daemon'
complete -c cygnet -l json -d 'write JSON for programs'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -l version -d 'what cygnet version shows'
complete -c cygnet -n '__fish_seen_subcommand_from peers bindings shortcuts nhs routes sas peer' -l wide -d 'all columns of a table'
complete -c cygnet -n '__fish_seen_subcommand_from peers bindings shortcuts' -l sort -x -d 'the column to sort by'
complete -c cygnet -n '__fish_seen_subcommand_from check' -l offline -d 'check a file of another machine'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a status -d 'what the daemon does, what is wrong first'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a peers -d 'the other routers and their security'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a bindings -d 'the clients registered here, and static maps'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a shortcuts -d 'direct paths to other spokes'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a nhs -d 'the next hop servers and our registrations'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a routes -d 'the routes of shortcuts and announced prefixes'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a sas -d 'the IKE and ESP SAs, as strongSwan lists them'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a peer -d 'shut an identity out, at once'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a policy -d 'what a configuration lets an identity be'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a leave -d 'say goodbye to the network'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a check -d 'check a configuration, without the daemon'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a version -d 'the versions of cygnet and of the running daemon'
complete -c cygnet -n "not __fish_seen_subcommand_from $commands" -a help -d 'the list of commands, or more about one command'
complete -c cygnet -n '__fish_seen_subcommand_from leave' -a '(__cygnet_interfaces)' -d interface
complete -c cygnet -n '__fish_seen_subcommand_from check' -F
complete -c cygnet -n '__fish_seen_subcommand_from help' -a "$commands"
complete -c cygnet -n '__fish_seen_subcommand_from peer' -a 'block unblock blocked'
complete -c cygnet -n '__fish_seen_subcommand_from peer' -l for -x -d 'how long to block'
complete -c cygnet -n '__fish_seen_subcommand_from policy' -a test
complete -c cygnet -n '__fish_seen_subcommand_from policy' -l interface -x -a '(__cygnet_interfaces)' -d 'the interface to ask about'
complete -c cygnet -n '__fish_seen_subcommand_from policy' -l config -r -F -d 'the configuration to ask'
