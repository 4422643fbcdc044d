# bash completion for cygnet

_cygnet_interfaces() {
	local path
	for path in /sys/class/net/*; do
		# 778 and 823 are GRE over IPv4 and over IPv6.
		case "$(cat "$path/type" 2>/dev/null)" in 778 | 823) echo "${path##*/}" ;; esac
	done
}

_cygnet() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' i
	local commands='status peers bindings shortcuts nhs routes sas events explain resolve ping netcheck clear register monitor peer policy leave reload drain log hooks web snmp report check version help'
	local types='resolution-request resolution-reply registration-request registration-reply purge-request purge-reply error-indication traffic-indication'
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--socket | -socket | --for | --interface | --config | --sort | --peer | --type | --since | --state | --listen | --token-file | --host) ((i++)) ;;
		-*) ;;
		*)
			command=${COMP_WORDS[i]}
			break
			;;
		esac
	done
	case $prev in --interface)
		mapfile -t COMPREPLY < <(compgen -W "$(_cygnet_interfaces)" -- "$cur")
		return
		;;
	--type)
		mapfile -t COMPREPLY < <(compgen -W "$types" -- "$cur")
		return
		;;
	--for | --sort | --peer | --since | --listen | --host) return ;;
	--socket | -socket | --config | --state | --token-file)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		local flags='--socket --json'
		case $command in
		'') flags+=' --version' ;;
		peers) flags+=' --wide --sort --history' ;;
		bindings | shortcuts) flags+=' --wide --sort' ;;
		nhs | routes | sas | register) flags+=' --wide' ;;
		events) flags+=' --follow --peer --since' ;;
		check) flags+=' --offline' ;;
		drain) flags+=' --for --off' ;;
		reload) flags+=' --dry-run' ;;
		log) flags+=' --for --peer' ;;
		hooks) flags+=' --state' ;;
		web) flags+=' --host --listen --token-file' ;;
		peer) flags+=' --for --wide' ;;
		policy) flags+=' --interface --config' ;;
		explain | netcheck) flags+=' --config' ;;
		monitor) flags+=' --peer --interface --type -w' ;;
		report) flags+=' --config -w' ;;
		esac
		mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
		return
	fi
	case $command in
	'') mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
	help) [[ $prev == help ]] && mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
	leave | drain) [[ $prev == "$command" ]] && mapfile -t COMPREPLY < <(compgen -W "$(_cygnet_interfaces)" -- "$cur") ;;
	peer) [[ $prev == peer ]] && mapfile -t COMPREPLY < <(compgen -W 'block unblock blocked' -- "$cur") ;;
	log) [[ $prev == log ]] && mapfile -t COMPREPLY < <(compgen -W 'debug info warn error default' -- "$cur") ;;
	clear) [[ $prev == clear ]] && mapfile -t COMPREPLY < <(compgen -W 'shortcut peer binding' -- "$cur") ;;
	register)
		[[ $prev == register ]] && mapfile -t COMPREPLY < <(compgen -W 'now' -- "$cur")
		[[ $prev == now ]] && mapfile -t COMPREPLY < <(compgen -W "$(_cygnet_interfaces)" -- "$cur")
		;;
	explain) [[ $prev != explain && $prev != from ]] && mapfile -t COMPREPLY < <(compgen -W 'from' -- "$cur") ;;
	netcheck) mapfile -t COMPREPLY < <(compgen -W "$(_cygnet_interfaces)" -- "$cur") ;;
	policy) [[ $prev == policy ]] && mapfile -t COMPREPLY < <(compgen -W 'test' -- "$cur") ;;
	snmp) [[ $prev == snmp ]] && mapfile -t COMPREPLY < <(compgen -W 'figures' -- "$cur") ;;
	check | hooks)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	esac
}

complete -F _cygnet cygnet
