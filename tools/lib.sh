# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the scripts of this directory share. Source it from the top of the repository.

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { warn "$@"; exit 1; }

# configure DIRECTORY [MESON OPTION]...: a configured build directory with these options. What
# somebody set there by hand (-Db_coverage=true ...) stays, and nothing happens when nothing changed.
configure() {
	local dir=$1 stamp=$1/.configured-by-tools
	shift
	if [[ ! -f $dir/build.ninja ]]; then
		rm -rf "$dir/meson-private" # what is left of a configuration that failed
		meson setup "$dir" "$@" || die "meson cannot configure $dir; its reasons are above."
	elif [[ $(cat "$stamp" 2>/dev/null) != "$*" ]]; then
		meson configure "$dir" "$@" || die "meson cannot configure $dir; remove it and try again."
	fi
	printf '%s\n' "$*" >"$stamp"
}

# build DIRECTORY: everything in it, quiet when all goes well.
build() {
	ninja --quiet -C "$1" | { grep -v '^ninja: no work to do' || true; } ||
		die "building in $1 failed; the compiler's messages are above."
}
