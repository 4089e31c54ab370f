#!/bin/sh
# Installs the programs that tests start, where they are missing and root has apt-get: those of the
# Python tests, or with the argument `chromium` that of the browser tests.
# Without one its tests are skipped, so nothing here is an error.
PATH="$PATH:/usr/sbin:/usr/local/sbin"
wanted=${1:-programs}
missing() {
    if [ "$wanted" = chromium ]; then
        { command -v chromium || command -v google-chrome; } >/dev/null || echo chromium
        return
    fi
    command -v pgbouncer >/dev/null || echo pgbouncer
    command -v openssl >/dev/null || echo openssl
    # psql, and a server that speaks TLS, which the embedded one does not.
    { command -v psql && ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 || echo postgresql
}
apt() {
    # The packages would start services of their own; a policy forbids that at this level.
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

[ -n "$(missing)" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # shellcheck disable=SC2046  # one word for each package
    apt install --no-install-recommends $(missing) ||
        { apt update && apt install --no-install-recommends $(missing); }
fi
# shellcheck disable=SC2046
[ -z "$(missing)" ] || echo "not installed, and their tests are skipped:" $(missing) >&2
