"""The floor of a round: raw `websockets` over TLS, broadcast, reply, mean; no protocol, no storage.

Prints seconds a round as JSON. `python -m benchmarks.floor SITES SIZE ROUNDS`.
"""

import asyncio
import json
import multiprocessing
import ssl
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import trustme
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


def client(port: int, ca: str) -> None:
    """Answer every vector with the vector plus one."""

    async def answer() -> None:
        context = ssl.create_default_context(cafile=ca)
        async with connect(f"wss://localhost:{port}", ssl=context, max_size=None, compression=None) as link:
            async for message in link:
                assert isinstance(message, bytes)
                await link.send((np.frombuffer(message, np.float32) + 1).tobytes())

    try:
        asyncio.run(answer())
    except (ConnectionClosed, KeyboardInterrupt):
        return


async def measure(sites: int, size: int, rounds: int) -> list[float]:
    """Seconds of each round."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    links: list[ServerConnection] = []
    ready = asyncio.Event()

    async def handle(link: ServerConnection) -> None:
        links.append(link)
        if len(links) == sites:
            ready.set()
        await link.wait_closed()

    with tempfile.TemporaryDirectory() as folder:
        ca = Path(folder, "ca.pem")
        authority.cert_pem.write_to_path(str(ca))
        async with serve(handle, "localhost", 0, ssl=context, max_size=None, compression=None) as server:
            port = server.sockets[0].getsockname()[1]
            spawn = multiprocessing.get_context("spawn")
            processes = [spawn.Process(target=client, args=(port, str(ca))) for _ in range(sites)]
            for process in processes:
                process.start()
            await asyncio.wait_for(ready.wait(), 60)
            seconds = await _rounds(links, np.zeros(size, np.float32), rounds)
            for process in processes:
                process.terminate()
                process.join()
    return seconds


async def _rounds(links: list[ServerConnection], weights: np.ndarray, rounds: int) -> list[float]:
    seconds = []
    for _ in range(rounds):
        began, body = time.perf_counter(), weights.tobytes()
        await asyncio.gather(*(link.send(body) for link in links))
        replies = await asyncio.gather(*(link.recv() for link in links))
        weights = np.mean(
            [np.frombuffer(reply, np.float32) for reply in replies if isinstance(reply, bytes)], 0
        )
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(*(int(argument) for argument in sys.argv[1:4])))))
