"""Brings two peers together: what one writes, the other reads.

python rendezvous.py PORT
"""

import asyncio
import sys

waiting: asyncio.Queue = asyncio.Queue()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
    writer.close()


async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if waiting.empty():
        waiting.put_nowait((reader, writer))
        return
    first_reader, first_writer = waiting.get_nowait()
    await asyncio.gather(pass_on(reader, first_writer), pass_on(first_reader, writer))


async def main(port: int) -> None:
    async with await asyncio.start_server(meet, port=port) as server:
        print(f"listening on port {port}", flush=True)
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
