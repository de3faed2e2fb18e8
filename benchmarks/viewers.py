"""So many pages of one live study, as far as a server sees them: `python -m benchmarks.viewers URL STUDY N`.

Each has the two streams of a page, reads what comes and does nothing with it, behind everything else on the
machine: real viewers have machines of their own, and it is the server's work that is measured. Says `ready`
when all are open; ends with its standard input.
"""

import asyncio
import os
import sys
from urllib.parse import urlsplit

PATIENCE_SECONDS = 60.0


async def stream(host: str, port: int, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open one stream and wait for its first event or pulse."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n\r\n".encode())
    status = await reader.readline()
    if b" 200 " not in status:
        raise SystemExit(f"{path}: {status.decode().strip()}")
    await reader.readuntil(b"\r\n\r\n")
    await reader.read(1)
    return reader, writer


async def drain(reader: asyncio.StreamReader) -> None:
    """Read until the server ends it."""
    while await reader.read(2**16):
        pass


async def main() -> None:
    """Open all, say so, and look until standard input ends."""
    address, study, count = urlsplit(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    host, port = str(address.hostname), int(address.port or 80)
    paths = ["/api/events", f"/api/studies/{study}/events"] * count
    streams = await asyncio.wait_for(
        asyncio.gather(*(stream(host, port, path) for path in paths)), PATIENCE_SECONDS
    )
    print("ready", flush=True)
    if hasattr(os, "nice"):
        os.nice(19)
    looking = [asyncio.create_task(drain(reader)) for reader, _ in streams]
    await asyncio.to_thread(sys.stdin.read)
    ended = sum(task.done() for task in looking)
    print(f"ended {ended}", flush=True)
    for task, (_, writer) in zip(looking, streams, strict=True):
        task.cancel()
        writer.close()


if __name__ == "__main__":
    asyncio.run(main())
