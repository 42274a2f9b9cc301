#!/bin/sh
# Do alice and bob get through to each other? For `wanlab matrix`, or a `wanlab shell` in any lab that has the three.
here=$(dirname "$0")

ip netns exec coordinator python3 "$here/rendezvous.py" &
ip netns exec bob python3 "$here/peer.py" bob coordinator &
bob=$!
ip netns exec alice python3 "$here/peer.py" alice coordinator && wait $bob
