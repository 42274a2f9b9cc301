"""Tells everybody who asks which address and port they are seen as, as a STUN server does.

python server.py [PORT]
"""

import socket
import sys

port = int(sys.argv[1]) if len(sys.argv) > 1 else 5000

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("0.0.0.0", port))
    print(f"listening on port {port}", flush=True)
    while True:
        question, (address, seen_port) = server.recvfrom(1500)
        print(f"{question.decode()} is seen as {address}:{seen_port}", flush=True)
        server.sendto(f"{address}:{seen_port}".encode(), (address, seen_port))
