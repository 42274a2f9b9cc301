"""Many impaired links at once."""

from __future__ import annotations

import socket
import time

from wanlab import Lab, Topology

_LINKS = 50


def test_fifty_impaired_links_hold_up(means: str) -> None:
    t = Topology("many")
    wan = t.switch("wan")
    t.host("server", wan)
    for number in range(_LINKS):
        t.host(f"h{number}", wan, impairment={"delay": "100ms"})
    with Lab(t, impairment=means) as lab, lab["server"].socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", 7))
        server.settimeout(10)
        hosts = [lab[f"h{number}"].socket(type=socket.SOCK_DGRAM) for number in range(_LINKS)]
        try:
            for each in hosts:
                each.settimeout(10)
                each.connect((str(lab["server"].address), 7))
            for _ in range(3):
                for each in hosts:
                    each.send(str(time.monotonic()).encode())
                for _ in hosts:
                    data, sender = server.recvfrom(100)
                    server.sendto(data, sender)
                sent = [float(each.recv(100)) for each in hosts]
                assert time.monotonic() - max(sent) >= 0.199
        finally:
            for each in hosts:
                each.close()
        impaired = [each for each in lab.counters() if each.interface == "eth0" and each.node != "server"]
        assert len(impaired) == _LINKS
        assert sum(each.impaired for each in impaired) == 0
