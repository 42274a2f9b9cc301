"""One of two peers that find each other through their NATs by ICE (RFC 8445), with aioice.

python peer.py NAME offer|answer SERVER

They try it directly first. Where that does not work, each asks for a relay's address (TURN, RFC 8656) and they talk
by these. At SERVER there are a rendezvous (TCP port 80), STUN (UDP port 53) and TURN (TCP port 443): ports that every
guest network lets its guests use. What became of it is printed as JSON.
"""

import asyncio
import json
import socket
import sys

import aioice

DIRECT_S = 4.0  # a lost check is sent again after 0.5, 1.5 and 3.5 s
RELAYED_S = 20.0
WORDS = 10


class Rendezvous:
    """How a peer tells the other one what to try; a real program has a server for that, as here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def swap(self, mine):
        """Tell the other peer something, and hear the same of it. So both go on at the same time."""
        self._writer.write(json.dumps(mine).encode() + b"\n")
        return json.loads(await self._reader.readline())


async def attempt(rendezvous: Rendezvous, seconds: float, **options) -> aioice.Connection | None:
    """Try to connect, in one of the ways that *options* allow; None where it does not work for both."""
    connection = aioice.Connection(use_ipv6=False, **options)
    await connection.gather_candidates()
    own = [candidate.to_sdp() for candidate in connection.local_candidates]
    name, password, candidates = await rendezvous.swap([connection.local_username, connection.local_password, own])
    connection.remote_username, connection.remote_password = name, password
    for candidate in candidates:
        await connection.add_remote_candidate(aioice.Candidate.from_sdp(candidate))
    await connection.add_remote_candidate(None)  # these are all
    try:
        await asyncio.wait_for(connection.connect(), seconds)
        connected = True
    except (ConnectionError, TimeoutError):
        connected = False
    if all([connected, await rendezvous.swap(connected)]):
        return connection
    await connection.close()
    return None


async def talk(connection: aioice.Connection, name: str) -> list[str]:
    """Say something WORDS times, and hear the same of the other."""
    for number in range(WORDS):
        await connection.send(f"{name} says {number}".encode())
    return sorted([(await asyncio.wait_for(connection.recv(), 10)).decode() for _ in range(WORDS)])


async def main(name: str, role: str, server: str) -> None:
    rendezvous = Rendezvous(*await asyncio.open_connection(server, 80))
    address = socket.gethostbyname(server)
    controlling = role == "offer"
    connection = await attempt(rendezvous, DIRECT_S, ice_controlling=controlling, stun_server=(address, 53))
    if connection is None:
        connection = await attempt(
            rendezvous, RELAYED_S, ice_controlling=controlling, transport_policy=aioice.TransportPolicy.RELAY,
            turn_server=(address, 443), turn_transport="tcp", turn_username="peer", turn_password="secret",
        )  # fmt: skip
    if connection is None:
        sys.exit("no way to the other peer, not even by the relay")
    heard = await talk(connection, name)
    (pair,) = connection._nominated.values()  # aioice has no public name for the pair that was chosen
    print(json.dumps({"local": pair.local_candidate.type, "remote": pair.remote_candidate.type, "heard": heard}))
    await rendezvous.swap("done")  # nobody hangs up while the other listens
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
