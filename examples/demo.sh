#!/bin/sh
# What `make demo` does, from the folder of the clone: the members whose runtime is made in a minute train, and archive a first CSV,
# while the image of the discontinued backends is built; then all four do. Each step says what it does and how long it takes.
set -u
cronsemble=.venv/bin/cronsemble
log=build/legacy-image.log
began=$(date +%s)
mkdir -p build

elapsed() { echo "$(($(date +%s) - began)) s after the beginning"; }

archived() {
    csv=$(ls -t store/predictions/digits/*.csv | head -1)
    echo
    echo "$csv, $(elapsed):"
    head -5 "$csv"
    echo
}

# sh has background jobs ignore Ctrl-C: the builder gets SIGTERM.
(.ci/packages images && exec $cronsemble images build legacy) > "$log" 2>&1 &
builder=$!
trap 'kill $builder 2> /dev/null; exit 130' INT TERM HUP
# An image that is there already is seen within seconds.
timeout 4 tail -f --pid=$builder /dev/null

if kill -0 $builder 2> /dev/null; then
    echo "the image of theano and cntk is being built meanwhile ($log): first the others"
    $cronsemble run --member tensorflow --member jax --ensemble || exit
    archived
    if kill -0 $builder 2> /dev/null; then
        echo "now the image of theano and cntk:"
        tail -n 1 -f --pid=$builder "$log"
    fi
fi
if wait $builder; then
    $cronsemble run || exit
else
    tail -n 3 "$log"
    echo "theano and cntk are left out: their image could not be built, see $log"
    [ -e store/predictions/digits ] || $cronsemble run --skip-unavailable || exit
fi
archived
$cronsemble history
echo
echo "again: $cronsemble history; one run: $cronsemble show RUN; when it would fire: $cronsemble next"
