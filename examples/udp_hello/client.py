"""Asks a server how it sees us.

python client.py SERVER [PORT]
"""

import socket
import sys

server = sys.argv[1]
port = int(sys.argv[2]) if len(sys.argv) > 2 else 5000

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(2)
    client.connect((server, port))
    client.send(socket.gethostname().encode())
    answer = client.recv(1500).decode()
    own_address, own_port = client.getsockname()
    print(f"I am {own_address}:{own_port}; {server} sees me as {answer}")
