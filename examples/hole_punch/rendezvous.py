"""Tells two peers of each other: each of them the address and port that the other is seen as.

python3 rendezvous.py [PORT]
"""

import socket
import sys

port = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
peers: dict[str, tuple[str, int]] = {}

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
    here.bind(("0.0.0.0", port))
    while True:
        name, seen = here.recvfrom(1500)
        peers[name.decode()] = seen
        if len(peers) == 2:
            one, other = peers.values()
            here.sendto(f"{one[0]} {one[1]}".encode(), other)
            here.sendto(f"{other[0]} {other[1]}".encode(), one)
