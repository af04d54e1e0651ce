# What a page's commands find in their shell.
set -Eeuo pipefail
export GIT_CEILING_DIRECTORIES=$PWD
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
PRINTED=0
SERVERS=()
trap 'echo "$PLACE: $BASH_COMMAND"' ERR

# What was started before may not listen yet; a reader waits, too.
curl() {
    local tries=0 code
    while :; do
        code=0
        command curl --silent --show-error --max-time 20 "$@" || code=$?
        [ $code = 7 ] && [ $tries -lt 200 ] || return $code
        tries=$((tries + 1))
        sleep 0.1
    done
}

# Everything is built already: `run` runs, and every other target is looked at.
make() {
    if [ "${1-}" = run ]; then
        command make --no-print-directory -o build run
    else
        command make --dry-run "$@" > /dev/null
    fi
}

# Whether a text was printed after the one that was asked for last; what serves in the background may take a moment.
printed() {
    local tries=0 at
    until at=$(tail -c +$((PRINTED + 1)) .page.log | grep -aboF -m1 -- "$2"); do
        tries=$((tries + 1))
        if [ $tries -gt 50 ]; then
            echo "$1: \"$2\" was not printed"
            exit 1
        fi
        sleep 0.1
    done
    PRINTED=$((PRINTED + ${at%%:*} + ${#2}))
}

# At the page's end: what serves must still do so.
serving() {
    local pid
    sleep 0.3
    for pid in "${SERVERS[@]}"; do
        kill -0 "$pid" 2> /dev/null || { echo "what was to serve has ended: $pid"; exit 1; }
    done
}
