"""One certificate authority for all tests: making one takes longer than most tests do."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path
from typing import NamedTuple

import trustme

HOST = "127.0.0.1"


class CertificateFiles(NamedTuple):
    """Where a server's certificate and its key are."""

    certificate: str
    key: str


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def issued_for(name: str) -> trustme.LeafCert:
    return authority().issue_cert(name)


def server_context(name: str = HOST) -> ssl.SSLContext:
    """What a server needs whose clients know it by this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued_for(name).configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    """What a client needs that trusts this authority only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


def write_certificate(folder: Path, name: str = HOST) -> CertificateFiles:
    """Write the files that commands and servers are configured with."""
    files = CertificateFiles(str(folder / "certificate.pem"), str(folder / "key.pem"))
    issued = issued_for(name)
    issued.cert_chain_pems[0].write_to_path(files.certificate)
    issued.private_key_pem.write_to_path(files.key)
    return files


def renew_files(files: CertificateFiles) -> None:
    """Write a new certificate and key over those that a server was configured with."""
    renewed = authority().issue_cert(HOST)
    renewed.cert_chain_pems[0].write_to_path(files.certificate)
    renewed.private_key_pem.write_to_path(files.key)
