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
	local commands='status peers bindings shortcuts nhs routes sas peer policy leave check version help'
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--socket | -socket | --for | --interface | --config | --sort) ((i++)) ;;
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
	--for | --sort) return ;;
	--socket | -socket | --config)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		local flags='--socket --json'
		case $command in
		'') flags+=' --version' ;;
		peers | bindings | shortcuts) flags+=' --wide --sort' ;;
		nhs | routes | sas) flags+=' --wide' ;;
		check) flags+=' --offline' ;;
		peer) flags+=' --for --wide' ;;
		policy) flags+=' --interface --config' ;;
		esac
		mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
		return
	fi
	case $command in
	'') mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
	help) [[ $prev == help ]] && mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
	leave) [[ $prev == leave ]] && mapfile -t COMPREPLY < <(compgen -W "$(_cygnet_interfaces)" -- "$cur") ;;
	peer) [[ $prev == peer ]] && mapfile -t COMPREPLY < <(compgen -W 'block unblock blocked' -- "$cur") ;;
	policy) [[ $prev == policy ]] && mapfile -t COMPREPLY < <(compgen -W 'test' -- "$cur") ;;
	check)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	esac
}

complete -F _cygnet cygnet
