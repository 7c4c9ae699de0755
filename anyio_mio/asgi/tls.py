"""What an application is told about a connection's TLS: the extension ``tls`` of ASGI.

`ssl` tells the version, the cipher suite and the client's certificate. It does not tell which
certificate the server has sent, so ``server_cert`` is None. Before Python 3.13 it does not tell the
client's whole chain either: there is the client's own certificate alone.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from typing import Any, Final

VERSIONS: Final = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

SHORT_NAMES: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
"""Attributes of a name that have a short form (RFC 4514, 3)."""

SPECIAL: Final = frozenset('"+,;<>\\')
"""Characters that are escaped in a value (RFC 4514, 2.4)."""


def tls_extension(connection: Any) -> dict[str, Any]:
    """Return the extension's fields for a connection whose handshake is done.

    Args:
        connection: the `ssl.SSLObject`.
    """
    version = VERSIONS.get(connection.version() or "")
    cipher = connection.cipher()
    certificate = connection.getpeercert() if has_client_certificate(connection) else None
    return {
        "server_cert": None,
        "client_cert_chain": client_chain(connection) if certificate is not None else [],
        "client_cert_name": distinguished_name(certificate["subject"]) if certificate else None,
        "client_cert_error": None,
        "tls_version": version,
        "cipher_suite": cipher_suite(cipher[0]) if cipher else None,
    }


def has_client_certificate(connection: Any) -> bool:
    """Return whether the client was asked for a certificate, and has sent one."""
    if connection.context.verify_mode is ssl.CERT_NONE:
        return False
    return connection.getpeercert(binary_form=True) is not None


def client_chain(connection: Any) -> list[str]:
    """Return the client's certificates as PEM, its own one first."""
    if hasattr(connection, "get_unverified_chain"):  # Python 3.13
        return [ssl.DER_cert_to_PEM_cert(each) for each in connection.get_unverified_chain()]
    return [ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))]


def distinguished_name(subject: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """Return a certificate's subject as a string: ``CN=client,O=example`` (RFC 4514)."""
    parts = (
        "+".join(f"{SHORT_NAMES.get(name, name)}={escape(value)}" for name, value in part)
        for part in reversed(subject)
    )
    return ",".join(parts)


def escape(value: str) -> str:
    """Return a value of a name, with the characters escaped that would end it."""
    text = "".join(f"\\{each}" if each in SPECIAL else each for each in value)
    text = text.replace("\0", "\\00")
    if text[:1] in ("#", " "):
        text = f"\\{text}"
    if len(text) > 1 and text.endswith(" ") and not text.endswith("\\ "):
        text = f"{text[:-1]}\\ "
    return text


def cipher_suite(name: str) -> int | None:
    """Return the number of a cipher suite in TLS; None if it is not known."""
    return cipher_suites().get(name)


@lru_cache(1)
def cipher_suites() -> dict[str, int]:
    """Return the numbers of all cipher suites that OpenSSL has, by its names for them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return {each["name"]: each["id"] & 0xFFFF for each in context.get_ciphers()}
