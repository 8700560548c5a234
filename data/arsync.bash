# SPDX-License-Identifier: MIT
# bash completion for arsync(1) and arsyncfs(8)

_arsync_values() {
	case $1 in
	--progress) echo auto bar lines none ;;
	--existing) echo fail merge skip update replace ;;
	--on-error) echo stop continue ;;
	--reflink | --offload | --direct) echo auto always never ;;
	--io) echo auto uring sync ;;
	--fsync) echo never file tree ;;
	--depth) echo auto 0 1 2 3 4 5 6 ;;
	--cache) echo auto always never ;;
	--passthrough | --cpu_latency | --readahead_tree) echo auto never ;;
	--transport) echo auto ring dev ;;
	--log) echo error warn info debug ;;
	esac
}

# Completes --NAME=VALUE; true when there was something to complete. bash takes "=" for a word of its own.
_arsync_value() {
	local name current=${COMP_WORDS[COMP_CWORD]}
	if [[ $current == = ]]; then
		name=${COMP_WORDS[COMP_CWORD - 1]} current=
	elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then
		name=${COMP_WORDS[COMP_CWORD - 2]}
	else
		return 1
	fi
	mapfile -t COMPREPLY < <(compgen -W "$(_arsync_values "$name")" -- "$current")
}

_arsync_options() {
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "${COMP_WORDS[COMP_CWORD]}")
	[[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace
}

_arsync_files() {
	compopt -o filenames
	mapfile -t COMPREPLY < <(compgen "$1" -- "${COMP_WORDS[COMP_CWORD]}")
}

# The numbers of the jobs of the mount that was named before
_arsync_jobs() {
	local mount=. word
	for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
		[[ $word == -* ]] || { mount=$word && break; }
	done
	mapfile -t COMPREPLY < <(compgen -W "$(arsync jobs "${mount/#\~/$HOME}" 2>/dev/null |
		awk 'NR > 1 { print $1 }')" -- "${COMP_WORDS[COMP_CWORD]}")
}

_arsync() {
	local current=${COMP_WORDS[COMP_CWORD]} common='--json --help --usage' operands=0 word
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		_arsync_options "copy jobs wait cancel stats --help --version"
		return
	fi
	_arsync_value && return
	for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
		[[ $word == -* || $word == = ]] || ((++operands))
	done
	case ${COMP_WORDS[1]}:$current in
	copy:-*) _arsync_options "$common --target-directory= --no-target-directory --verbose --quiet --progress= \
		--existing= --no-clobber --update --on-error= --verify --one-file-system \
		--dry-run --background --local --workers= --queue_depth= --block_size= --depth= --reflink= --offload= \
		--direct= --io= --fsync= -t -T -n -u -x -v -q -b" ;;
	jobs:-*) _arsync_options "$common --watch --all" ;;
	wait:-*) _arsync_options "$common --timeout=" ;;
	cancel:-* | stats:-*) _arsync_options "$common" ;;
	copy:*) _arsync_files -f ;;
	wait:* | cancel:*) if ((operands)); then _arsync_jobs; else _arsync_files -d; fi ;;
	jobs:* | stats:*) _arsync_files -d ;;
	esac
}

_arsyncfs() {
	COMPREPLY=()
	_arsync_value && return
	if [[ ${COMP_WORDS[COMP_CWORD]} == -* ]]; then
		_arsync_options "--workers= --queue_depth= --block_size= --depth= --reflink= --offload= --direct= --io= \
			--fsync= --cache= --passthrough= --transport= --cpu_latency= --readahead_tree= --trigger_wait= --log= --help --version -f -o"
	else
		_arsync_files -d
	fi
}

complete -F _arsync arsync
complete -F _arsyncfs arsyncfs
