#!/bin/bash
# For every line on standard input: `ip netns exec NS true`, and a line with the microseconds that it took.
# Run it in namespaces of its own, with a tmpfs over /run.
set -eu

ip netns add node
ip -n node link set lo up
while read -r _; do
    start=${EPOCHREALTIME/[^0-9]/}
    ip netns exec node true
    echo $((${EPOCHREALTIME/[^0-9]/} - start))
done
