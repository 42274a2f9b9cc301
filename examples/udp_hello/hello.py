"""The server on `coordinator`, the client on `alice` and on `bob`: wanlab's Python, in one program.

python hello.py
"""

import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE

from wanlab import Lab

here = Path(__file__).parent

with Lab("two-lans") as lab:
    serve = [sys.executable, str(here / "server.py")]
    with lab["coordinator"].popen(serve, stdout=PIPE, stdin=DEVNULL, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()  # it listens from now on

        for name in ("alice", "bob"):
            ask = [sys.executable, str(here / "client.py"), "coordinator"]
            done = lab[name].run(ask, capture_output=True, text=True, check=True)
            print(f"{name}: {done.stdout.strip()}")

            # A NAT is what is seen from outside: the router's address, never the host's own.
            seen = done.stdout.split()[-1].partition(":")[0]
            home = {"alice": "home-a", "bob": "home-b"}[name]
            assert seen == str(lab[home].wan.address) != str(lab[name].address)
        server.terminate()
