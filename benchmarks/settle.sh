#!/bin/bash
# Return when the kernel has freed every network namespace that was closed before.
#
# A closed namespace is freed later, by one worker, in batches and in order. So: close one more namespace, and wait
# until its end of a cable takes ours with it. Twice, as the first may go in the same batch as those waited for.
# Run it in a network namespace of its own.
set -eu

for _ in 1 2; do
    unshare --net sh -c 'ip link add far type veth peer name near netns $PPID'
    while ip link show near >/dev/null 2>&1; do
        sleep 0.02
    done
done
