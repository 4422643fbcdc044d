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
	local commands='status peers bindings shortcuts nhs routes sas leave check version help'
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--socket | -socket) ((i++)) ;;
		-*) ;;
		*)
			command=${COMP_WORDS[i]}
			break
			;;
		esac
	done
	case $prev in --socket | -socket)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W '--socket --json' -- "$cur")
		return
	fi
	case $command in
	'') mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
	help) [[ $prev == help ]] && mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
	leave) [[ $prev == leave ]] && mapfile -t COMPREPLY < <(compgen -W "$(_cygnet_interfaces)" -- "$cur") ;;
	check)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	esac
}

complete -F _cygnet cygnet
