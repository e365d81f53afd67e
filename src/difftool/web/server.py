"""The server: a socket, a lock on the folder, and uvicorn."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import DifftoolError, Exit
from .app import application
from .guard import LARGEST_HEAD
from .studio import Studio

MOST_CONNECTIONS, MOST_OF_ONE = 100, 60
"""At once: of all clients, and of one address, so that one cannot keep out the others."""
SLOWEST_HEAD = 20.0
"""Seconds."""


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
        code = Exit.LATER if getattr(error, "errno", None) == errno.EADDRINUSE else Exit.USAGE
        message = f"cannot listen on port {port} of {host}: {reason}"
        raise DifftoolError(code, message, "choose another --port or --host") from error
    return taken


class Connection(H11Protocol):
    """A connection that is closed where the head of a request does not come in time, or there are too many."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        clients = [getattr(other, "client", None) or ("", 0) for other in self.connections]
        of_one = sum(address == (self.client or clients[0])[0] for address, _ in clients)
        if of_one > MOST_OF_ONE or len(clients) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._watch(self)

    def _watch(self, before: object) -> None:
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self.cycle is before:  # as long ago as that
            self.transport.close()
        elif not self.transport.is_closing():
            self.loop.call_later(SLOWEST_HEAD, self._watch, self.cycle if is_idle else self)


class Server(uvicorn.Server):
    """uvicorn, which ends the streams of events first when it ends."""

    def __init__(self, config: uvicorn.Config, studio: Studio) -> None:
        super().__init__(config)
        self.studio = studio

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.studio.events.close()
        await super().shutdown(sockets)


def serve(studio: Studio, taken: socket.socket, tls: tuple[Path, Path] | None = None) -> None:
    """Serves the page until Ctrl-C or SIGTERM; `tls` are the files of a certificate and its key. Raises DifftoolError 1
    if its state cannot be read."""
    server = server_for(studio, tls)
    with suppress(SystemExit):  # of uvicorn, which does not say why
        server.run([taken])
    if not server.started:
        raise DifftoolError(Exit.FAILED, "the studio cannot start", f"move {studio.folder} out of the way")


def server_for(studio: Studio, tls: tuple[Path, Path] | None = None) -> Server:
    """The server of a studio."""
    config = uvicorn.Config(
        application(studio),
        loop="asyncio",
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        ssl_certfile=tls and tls[0],
        ssl_keyfile=tls and tls[1],
    )
    return Server(config, studio)
