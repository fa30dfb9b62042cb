"""A TCP relay in front of a server, which can be made slow, and which can speak TLS to clients."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_CHUNK = 65_536


@dataclass(slots=True)
class Relay:
    """Passes bytes on between its port and a server's, on 127.0.0.1.

    Attributes:
        upstream: Port of the server.
        delay_s: Seconds that what the server says is held back.
        port: Its own port, once it listens.
    """

    upstream: int
    delay_s: float = 0.0
    port: int = 0

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.transport.abort()
            return
        ways = [
            asyncio.create_task(self._pass_on(reader, server_writer, delayed=False)),
            asyncio.create_task(self._pass_on(server_reader, writer, delayed=True)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        writer.transport.abort()
        server_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delayed: bool) -> None:
        try:
            while data := await reader.read(_CHUNK):
                if delayed and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            return  # either end has gone, and with it the connection

    async def stand(self, listening: threading.Event, over: asyncio.Event, *, tls: ssl.SSLContext | None) -> None:
        """Listen until it is over."""
        async with await asyncio.start_server(self._meet, "127.0.0.1", 0, ssl=tls) as server:
            self.port = server.sockets[0].getsockname()[1]
            listening.set()
            await over.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()


@contextmanager
def relay_to(port: int, *, tls: ssl.SSLContext | None = None) -> Iterator[Relay]:
    """A relay to a port of this machine, which need not answer yet; with `tls`, clients speak that to it."""
    relay, listening = Relay(port), threading.Event()
    loop, over = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(relay.stand(listening, over, tls=tls),), daemon=True
    )
    thread.start()
    assert listening.wait(10)
    try:
        yield relay
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()
