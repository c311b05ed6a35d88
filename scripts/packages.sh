#!/usr/bin/env bash
# Installs Debian packages that are not installed yet: packages.sh NAME...
source "$(dirname "$0")/lib.sh"

command -v dpkg-query >/dev/null 2>&1 ||
	die "this machine has no Debian packages: install the equivalents of \"$*\" yourself, then run the scripts of this folder one by one (docs/development.md)"

missing=()
for package in "$@"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

say "installing from Debian: ${missing[*]}"
privileged=()
if [ "$(id -u)" != 0 ]; then
	need sudo "become root, or run: apt-get install ${missing[*]}"
	privileged=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${privileged[@]}" apt-get update -q >/dev/null ||
	say "apt-get update reported errors; trying the lists there are"
"${privileged[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null ||
	die "apt-get could not install: ${missing[*]}"
