"""What stands before every route: whom a request may come from, and what a browser may do with the answer."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from collections.abc import Iterator
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import Exit
from .errors import answer

LOOPBACK = ("localhost", "127.0.0.1", "::1")
COOKIE = "difftool-studio"
PUBLIC = ("/", "/api/login")
"""What needs no token, beside /static: the page, which asks for it."""
LARGEST_HEAD = 2**14
"""Bytes of an address and its headers."""
METHODS = ("GET", "HEAD", "POST", "DELETE")
SIMPLE = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
"""Types of bodies that any page may send to any host."""
FORMS = ("/api/uploads",)
"""Where a form may be sent."""
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?")
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer."""


class Access(NamedTuple):
    """Who may use the studio."""

    hosts: frozenset[str]
    """The names by which it is called, in lower case."""
    any_address: bool
    """Whether it may be called by any number of an address, as behind a router; no name can be bound to one."""
    token: str | None
    is_tls: bool

    def is_token(self, given: str) -> bool:
        """Whether a text is the token, in constant time."""
        if self.token is None:
            return False
        return secrets.compare_digest(given.encode(errors="surrogatepass"), self.token.encode())


def access(host: str, token: str | None, *, is_tls: bool) -> Access:
    """The access to a studio that listens on `host`."""
    name = host.strip("[]").lower()
    own = {*LOOPBACK, name}
    if is_loopback(host):
        return Access(frozenset(own), False, token, is_tls)
    machine = socket.gethostname().lower()
    return Access(frozenset({*own, machine, f"{machine.partition('.')[0]}.local"}), True, token, is_tls)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    name = host.strip("[]").lower()
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Guard:
    """The application behind all checks."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        kept = scope["path"] == "/" or scope["path"].startswith("/static/")

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if self.access.is_tls or not self.access.any_address:  # elsewhere browsers complain of it
                    headers["Cross-Origin-Opener-Policy"] = "same-origin"
                headers["Cache-Control"] = "no-cache" if kept else "no-store"
            await send(message)

        refusal = next(self._refusals(scope, Headers(scope=scope)), None)
        if refusal is None:
            await self.app(scope, receive, sent)
            return
        status, message, hint = refusal
        headers = {"Connection": "close"}  # the body was not read
        await answer(scope["path"], status, Exit.USAGE, message, hint, headers)(scope, receive, sent)

    def _refusals(self, scope: Scope, headers: Headers) -> Iterator[tuple[int, str, str]]:
        """(status, message, hint) of each reason to refuse a request."""
        method, path = scope["method"], scope["path"]
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            yield 421, "this is not the address of the studio", "use the address that difftool studio printed"
        if len(path) + len(scope["query_string"]) + sum(map(len, headers.values())) > LARGEST_HEAD:
            yield 431, "the address or the headers are too long", "send a shorter request"
        if method not in METHODS:
            yield 405, "method not allowed", "see docs/studio.md"
        if not _is_same_site(method, path, headers, hosts[0]):
            yield 403, "requests of other pages are refused", "use the page of the studio, or a program"
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method == "POST" and kind in SIMPLE and not (kind == SIMPLE[2] and path in FORMS):
            yield 415, f"bodies of type {kind} are refused", "send JSON, or the bytes of a file with its own type"
        is_public = path in PUBLIC or path.startswith("/static/")
        if self.access.token is not None and not is_public and not self._has_token(headers):
            yield 401, "the token is missing or wrong", "open the address that difftool studio printed"

    def _is_own(self, host: str) -> bool:
        match = HOST.fullmatch(host.lower())
        if match is None:
            return False
        name = match[1] or match[2]
        if name in self.access.hosts:
            return True
        try:
            return self.access.any_address and bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    def _has_token(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.access.is_token(given.strip()):
            return True
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        return COOKIE in cookies and self.access.is_token(cookies[COOKIE].value)


def _is_same_site(method: str, path: str, headers: Headers, host: str) -> bool:
    """Whether a request comes from the page itself or from a program, by what browsers say of it."""
    site = headers.get("sec-fetch-site", "none")
    if method in ("GET", "HEAD") and path == "/" and headers.get("sec-fetch-mode") == "navigate":
        return True  # a link to the page
    if site not in ("same-origin", "none"):
        return False
    source = headers.get("origin")
    if source is None and method not in ("GET", "HEAD"):
        source = headers.get("referer")
    if source is None:
        return True
    try:
        parts = urlsplit(source)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()
