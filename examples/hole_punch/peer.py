"""Punches a hole to the other peer, and exits with 0 once packets go both ways.

python3 peer.py NAME RENDEZVOUS [PORT]
"""

import socket
import sys
import time

WAIT_S = 10.0  # for the other one to come
PATIENCE_S = 2.0  # for the first packet from it
PAUSE_S = 0.05
GOODBYES = 5  # the other one may not have heard of us yet: our last packets may be its first

name, rendezvous = sys.argv[1:3]
port = int(sys.argv[3]) if len(sys.argv) > 3 else 4000
server = (socket.gethostbyname(rendezvous), port)


def receive() -> tuple[str, tuple[str, int] | None]:
    try:
        data, source = here.recvfrom(1500)
        return data.decode(), source
    except TimeoutError:
        return "", None


with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
    here.bind(("0.0.0.0", 0))
    here.settimeout(PAUSE_S)
    ends = time.monotonic() + WAIT_S
    other: tuple[str, int] | None = None
    through = False
    while time.monotonic() < ends and not through:
        here.sendto(name.encode(), server)  # until it is answered, and then to keep the way open
        if other is not None:
            here.sendto(b"hello?", other)
        text, source = receive()
        if source == server:
            address, number = text.split()
            if other is None:
                other = (address, int(number))
                ends = time.monotonic() + PATIENCE_S
                print(f"{name}: the other is seen as {address}:{number}", flush=True)
        elif source is not None:
            other = source  # its NAT may have chosen another port for us than for the rendezvous
            here.sendto(b"I hear you", other)
            through = text == "I hear you"
    for _ in range(GOODBYES if through else 0):
        here.sendto(b"I hear you", other)  # type: ignore[arg-type]
        time.sleep(PAUSE_S)
    print(f"{name}: {f'talks with {other}' if through else 'no way through'}", flush=True)
    sys.exit(0 if through else 1)
