"""A TLS proxy in front of the sandbox: the real service uses TLS, too."""

from __future__ import annotations

import asyncio
import ssl
import threading
from pathlib import Path

import trustme


def serve_tls(port: int, authority: Path) -> int:
    """Forward TLS connections to a local port, from a thread; return the port to connect to.

    Parameters
    ----------
    port : int
        Port of the plain HTTP server.
    authority : Path
        File to write the CA certificate to. Callers must trust it.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issuer = trustme.CA()
    issuer.issue_cert("127.0.0.1").configure_cert(context)
    issuer.cert_pem.write_to_path(str(authority))
    opened: list[int] = []
    ready = threading.Event()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**18):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def handle_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        upstream, downstream = forward(reader, inner_writer), forward(inner_reader, writer)
        await asyncio.gather(upstream, downstream, return_exceptions=True)

    async def serve() -> None:
        server = await asyncio.start_server(handle_connection, "127.0.0.1", 0, ssl=context)
        opened.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    ready.wait()
    return opened[0]
