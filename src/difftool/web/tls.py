"""A certificate of the studio's own, for https in the home: browsers warn once, and then give the page a microphone."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import replacing

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName

DAYS = 397
"""How long a certificate is valid: browsers take none that is valid for longer."""
RENEWED = 30
"""Days before its end from which a new one is made."""


def certificate(folder: Path, names: Iterable[str]) -> tuple[Path, Path]:
    """The files of a certificate for these names and addresses, and of its key; the ones of before, if they fit."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = folder / "certificate.pem", folder / "key.pem"
    wanted = sorted({*names})
    if not _fits(*paths, wanted):
        _make(*paths, wanted)
    return paths


def names_of(host: str) -> list[str]:
    """The names and addresses by which a studio that listens on `host` is called."""
    names = {"localhost", "127.0.0.1", "::1", host.strip("[]")} - {"0.0.0.0", "::"}
    machine = socket.gethostname()
    names |= {machine, f"{machine.partition('.')[0]}.local"}
    with suppress(OSError):
        names |= {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(machine, None)}
    if (address := own_address()) is not None:
        names.add(address)
    return sorted(names)


def own_address() -> str | None:
    """The address of this machine in its network; None without one."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent; the address of the way out becomes known
        return probe.getsockname()[0]
    return None


def _fits(certificate: Path, key: Path, names: list[str]) -> bool:
    from cryptography import x509

    try:
        old = x509.load_pem_x509_certificate(certificate.read_bytes())
        own = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    known = {str(name.value) for name in own}
    return key.is_file() and {*names} <= known and old.not_valid_after_utc > datetime.now(UTC) + timedelta(RENEWED)


def _make(certificate: Path, key: Path, names: list[str]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    secret = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "difftool studio")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, secret.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(DAYS - 1))
    builder = builder.add_extension(x509.SubjectAlternativeName([*map(_name, names)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    signed = builder.add_extension(usage, critical=False).sign(secret, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    _write(key, secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    _write(certificate, signed.public_bytes(pem))


def _name(name: str) -> GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, data: bytes) -> None:
    """Writes a file that only its owner can read."""
    with replacing(path) as part, os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(data)
