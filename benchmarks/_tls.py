"""TLS in front of the sandbox, as the service itself is reached."""

from __future__ import annotations

import asyncio
import ssl
import threading
from pathlib import Path

import trustme


def serve_tls(port: int, authority: Path) -> int:
    """Pass on what comes over TLS to a local port, from a thread; return the port to call.

    Parameters
    ----------
    port : int
        Where plain HTTP is served.
    authority : Path
        The file to write the certificate to that callers have to trust.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issuer = trustme.CA()
    issuer.issue_cert("127.0.0.1").configure_cert(context)
    issuer.cert_pem.write_to_path(str(authority))
    opened: list[int] = []
    ready = threading.Event()

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**18):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        there, back = passed_on(reader, inner_writer), passed_on(inner_reader, writer)
        await asyncio.gather(there, back, return_exceptions=True)

    async def serve() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
        opened.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    ready.wait()
    return opened[0]
