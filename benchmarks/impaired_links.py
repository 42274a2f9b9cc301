"""`python -m benchmarks.impaired_links`: what impaired links cost, and how exact they are.

By the wire, or by netem: `--means`. Each figure is the median of several turns; the load of the machine is told beside.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import threading
import time
from pathlib import Path
from statistics import median, quantiles

from tests.impairment.link import send, up
from wanlab import Lab, Topology

_TICK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--means", default="wire", choices=("wire", "netem"))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--links", type=int, default=50)
    options = parser.parse_args()
    print(f"{options.means}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    delay_error(options.means, options.turns)
    packet_rate(options.means, options.turns)
    throughput(options.means, options.turns)
    many_links(options.means, options.links)


def delay_error(means: str, turns: int) -> None:
    """How much later than asked for packets arrive, one every 2 ms."""
    late: list[float] = []
    for _ in range(turns):
        with up({"up": {"delay": "20ms"}}, means) as lab:
            late += [delay - 20 for delay in send(lab, 500, gap=0.002).delays_ms]
    parts = quantiles(late, n=100)
    print(f"delay of 20 ms, late by: median {median(late):.3f} ms, 90% {parts[89]:.3f} ms, 99% {parts[98]:.3f} ms")


def packet_rate(means: str, turns: int) -> None:
    """How many packets of 100 bytes get through a second, one way, more being sent than get through; and their CPU."""
    rates, costs = [], []
    for _ in range(turns):
        with up({"up": {"delay": "1ms"}}, means) as lab:
            before = processor_seconds(lab)
            packets = send(lab, 100_000)
            used = processor_seconds(lab) - before
        times = [at for _, at in packets.arrived]
        rates.append(len(times) / (times[-1] - times[0]))
        costs.append(used / len(times) * 1e6)
    cost = f", {median(costs):.1f} us of processor each" if means == "wire" else ""
    print(f"packets of 100 bytes: {median(rates) / 1000:.1f} k a second{cost}")


def throughput(means: str, turns: int) -> None:
    """TCP, by iperf3."""
    rates = []
    for _ in range(turns):
        with up({"up": {"delay": "1ms"}}, means) as lab, lab["b"].popen(["iperf3", "-s", "-1"], stdout=-3) as server:
            time.sleep(0.5)
            done = lab["a"].run(
                ["iperf3", "-c", "10.0.0.2", "-t", "3", "-J"], capture_output=True, text=True, check=True
            )
            rates.append(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 1e6)
            server.wait(10)
    print(f"TCP: {median(rates):.0f} Mbit/s")


def many_links(means: str, count: int) -> None:
    """A star of hosts with 20 ms each way; each sends 20 packets a second to a server, which answers."""
    t = Topology("many")
    wan = t.switch("wan")
    t.host("server", wan)
    for number in range(count):
        t.host(f"h{number}", wan, impairment={"delay": "20ms", "loss": "1%"})
    started = time.monotonic()
    with Lab(t, impairment=means) as lab:
        print(f"{count} impaired links: up in {time.monotonic() - started:.2f} s")
        with lab["server"].socket(type=socket.SOCK_DGRAM) as server:
            server.bind(("0.0.0.0", 7))
            threading.Thread(target=echo, args=(server,), daemon=True).start()
            hosts = [lab[f"h{number}"].socket(type=socket.SOCK_DGRAM) for number in range(count)]
            trips: list[float] = []
            sent = 0
            for each in hosts:
                each.connect((str(lab["server"].address), 7))
                each.setblocking(False)
            before, started = processor_seconds(lab), time.monotonic()
            for turn in range(100):
                for number, each in enumerate(hosts):
                    time.sleep(max(0.0, started + turn * 0.05 + number * 0.05 / count - time.monotonic()))
                    each.send(str(time.monotonic()).encode())
                    sent += 1
                    trips += received(hosts[(number + count // 2) % count])
            time.sleep(0.3)
            trips += [trip for each in hosts for trip in received(each)]
            used = (processor_seconds(lab) - before) / (time.monotonic() - started)
            for each in hosts:
                each.close()
    late = [trip - 40 for trip in trips]
    print(
        f"  {sent} packets there and back, {len(trips)} came back ({0.99**2:.1%} expected), early {min(late):.2f} ms, "
        f"wire at {used:.0%} of a processor"
    )


def echo(server: socket.socket) -> None:
    while True:
        try:
            data, sender = server.recvfrom(100)
            server.sendto(data, sender)
        except OSError:
            return


def received(each: socket.socket) -> list[float]:
    found = []
    while True:
        try:
            data = each.recv(100)
        except BlockingIOError:
            return found
        found.append((time.monotonic() - float(data)) * 1000)


def processor_seconds(lab: Lab) -> float:
    """What the lab's wire has used; 0 where there is none."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")
            except OSError:
                continue
            numbers = fields[2].split()
            if "wanlab-wire" in fields[0] and int(numbers[1]) == lab.pid:
                return (int(numbers[11]) + int(numbers[12])) / _TICK
    return 0.0


if __name__ == "__main__":
    main()
