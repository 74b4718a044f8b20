#!/bin/sh
# Installs packages whether the suite is still on Debian's mirrors or has moved to its archive: sh apt.sh PACKAGE...
# APT_ROOT and APT_GET stand for another root and another apt-get.
set -u
etc=${APT_ROOT:-}/etc/apt
printf 'path-exclude=/usr/share/%s/*\n' doc man info locale lintian > "${APT_ROOT:-}/etc/dpkg/dpkg.cfg.d/01slim"
install() {
    ${APT_GET:-apt-get} update -q && DEBIAN_FRONTEND=noninteractive ${APT_GET:-apt-get} install -y -q --no-install-recommends "$@"
}
change() {
    for file in "$etc/sources.list" "$etc"/sources.list.d/*; do
        [ ! -f "$file" ] || sed -i -E "$1" "$file"
    done
}
install "$@" && exit 0
echo "apt.sh: trying Debian's archive" >&2
change 's/(deb|security)\.debian\./archive.debian./'
echo 'Acquire::Check-Valid-Until "false";' > "$etc/apt.conf.d/archive"
install "$@" && exit 0
echo "apt.sh: trying without the updates and the security suite" >&2
change '/^deb .* [a-z]+([-/]updates|-security)( |$)/d; /^Suites:/s/ [a-z]+([-/]updates|-security)//g'
install "$@"
