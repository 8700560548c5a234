#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# install.sh MESON BUILD_DIRECTORY: what `meson install --destdir` installs is there, and works.
set -euo pipefail

meson=$1 build=$2
command -v "$meson" >/dev/null || { echo "SKIP: no $meson in the PATH" && exit 77; }
root=$(mktemp -d "${TMPDIR:-/tmp}/arsyncfs-install.XXXXXX")
trap 'rm -rf "$root"' EXIT
fail() {
	echo "not ok - $1" >&2
	exit 1
}

"$meson" install -C "$build" --destdir "$root" --no-rebuild --skip-subprojects --quiet
find "$root" -type f -o -type l

# installed NAME: its path
installed() {
	local found
	found=$(find "$root" -path "*/$1")
	[[ -n $found ]] || fail "there is no $1"
	echo "$found"
}

[[ $("$(installed bin/arsync)" --version) == "arsync "* ]] || fail "arsync --version"
[[ $("$(installed bin/arsyncfs)" --version) == "arsyncfs "* ]] || fail "arsyncfs --version"
for page in man1/arsync.1 man8/arsyncfs.8; do
	page=$(installed "$page")
	if command -v groff >/dev/null; then
		[[ -z $(groff -man -Tutf8 -ww -z "$page" 2>&1) ]] || fail "groff complains about $page"
	fi
done

# Every option that the program has is in the man page and completed.
manual=$(sed 's/\\-/-/g; s/\\f[BIR]//g' "$(installed man1/arsync.1)")
bash=$(installed bash-completion/completions/arsync)
[[ $(readlink -f "$(installed bash-completion/completions/arsyncfs)") == "$bash" ]] || fail "no completion of arsyncfs"
fish=$(installed fish/vendor_completions.d/arsync.fish)
zsh=$(installed zsh/site-functions/_arsync)
for command in copy jobs wait cancel stats; do
	"$(installed bin/arsync)" "$command" --help | grep -o -- '--[a-z_-]*' | sort -u >"$root/options"
	while read -r option; do
		case $option in --help | --usage | --version) continue ;; esac
		grep -q -- "$option" "$bash" || fail "bash does not complete $command $option"
		grep -q -- "$option" "$zsh" || fail "zsh does not complete $command $option"
		name=${option#--}
		# These three are in a loop.
		case $name in reflink | offload | direct) name=\$option ;; esac
		grep -qF -- "-l $name" "$fish" || fail "fish does not complete $command $option"
		[[ $manual == *"$option"* ]] || fail "arsync(1) does not have $command $option"
	done <"$root/options"
done

daemon_fish=$(installed fish/vendor_completions.d/arsyncfs.fish)
manual=$(sed 's/\\-/-/g; s/\\f[BIR]//g' "$(installed man8/arsyncfs.8)")
"$(installed bin/arsyncfs)" --help | grep -o -- '--[a-z_]\{2,\}' | sort -u >"$root/options"
while read -r option; do
	case $option in --name | --help | --version) continue ;; esac
	grep -q -- "$option" "$bash" || fail "bash does not complete arsyncfs $option"
	grep -q -- "${option#--}" "$zsh" || fail "zsh does not complete arsyncfs $option"
	grep -q -- "-l ${option#--} " "$daemon_fish" || fail "fish does not complete arsyncfs $option"
	[[ $manual == *"${option#--}"* ]] || fail "arsyncfs(8) does not have $option"
done <"$root/options"
[[ -s $root/options ]] || fail "arsyncfs --help lists no options"

# complete WORD...: what bash proposes for the last one
complete_words() {
	# shellcheck disable=SC2016 # expanded by that shell
	bash --norc -c '
		compopt() { :; } # works only while bash completes
		. "$1"; shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		"_$1" 2>/dev/null
		printf "%s " "${COMPREPLY[@]}"' - "$bash" "$@"
}
[[ $(complete_words arsync "") == "copy jobs wait cancel stats --help --version " ]] || fail "bash: commands"
[[ $(complete_words arsync wa) == "wait " ]] || fail "bash: a command"
[[ $(complete_words arsync copy --refl) == "--reflink= " ]] || fail "bash: an option"
[[ $(complete_words arsync copy --reflink = a) == "auto always " ]] || fail "bash: a value"
[[ $(complete_words arsync copy --reflink =) == "auto always never " ]] || fail "bash: values"
[[ $(cd "$root" && : >operand && complete_words arsync copy oper) == "operand " ]] || fail "bash: a file"
[[ $(complete_words arsyncfs --cache = n) == "never " ]] || fail "bash: arsyncfs"
! command -v zsh >/dev/null || zsh -n "$zsh" || fail "zsh: syntax"
for script in "$fish" "$daemon_fish"; do
	! command -v fish >/dev/null || fish --no-execute "$script" || fail "fish: syntax of $script"
done

unit=$(installed 'examples/arsyncfs@.service')
grep -q '^ExecStart=.* arsyncfs -f ' "$unit" || fail "the unit starts no arsyncfs"
if command -v systemd-analyze >/dev/null; then
	# It asks man(1) for the page, which is not in the manpath here.
	said=$(systemd-analyze verify --man=no "$unit" 2>&1) || true
	[[ $said != *"arsyncfs@"* ]] || fail "systemd-analyze: $said"
fi
echo "ok"
