"""The server: a socket, a lock on the folder, and uvicorn."""

from __future__ import annotations

import socket
from pathlib import Path

import uvicorn

from ..errors import DifftoolError, Exit
from .app import Studio, application

MOST_CONNECTIONS = 100
LARGEST_HEAD = 2**14
"""Bytes of a request line and its headers."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises DifftoolError 2 for a host that is not of this machine, 75 for a port in use."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(128)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        code = Exit.LATER if getattr(error, "errno", None) == 98 else Exit.USAGE
        message = f"cannot listen on port {port} of {host}: {reason}"
        raise DifftoolError(code, message, "choose another --port or --host") from error
    return taken


class Server(uvicorn.Server):
    """uvicorn, which ends the streams of events first when it ends."""

    studio: Studio

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.studio.events.close()
        await super().shutdown(sockets)


def serve(studio: Studio, taken: socket.socket, tls: tuple[Path, Path] | None = None) -> None:
    """Serves the page until Ctrl-C or SIGTERM; `tls` are the files of a certificate and its key."""
    config = uvicorn.Config(
        application(studio),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        ssl_certfile=tls and tls[0],
        ssl_keyfile=tls and tls[1],
    )
    server = Server(config)
    server.studio = studio
    server.run([taken])
