"""Certificates: load them with clear errors, and use renewed ones without a restart."""

from __future__ import annotations

import os
import ssl
from typing import Final, final

from anyio_mio._supervisor.configuration import TlsFiles

PASSWORD_VARIABLE: Final = "ANYIO_MIO_TLS_KEY_PASSWORD"

PASSWORD_HINT: Final = f"right: --tls-key-password-file FILE, or set {PASSWORD_VARIABLE}"


class CertificateError(Exception):
    """A certificate or key cannot be used; the message is one line."""


def load_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the TLS context of a server.

    Raises:
        CertificateError: the files cannot be read or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_into(context, files)
    return context


def load_into(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Load the certificate and its key, without a question at the terminal.

    Raises:
        CertificateError: as `load_context()`.
    """
    password = read_password(files)
    key = files.key or files.certificate
    asked = []

    def tell_password() -> bytes:
        asked.append(True)
        return password or b""

    try:
        context.load_cert_chain(files.certificate, files.key, tell_password)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        if asked and password is None:
            raise CertificateError(f"{key} needs a pass phrase; {PASSWORD_HINT}") from None
        if asked and not fits(error):
            raise CertificateError(f"the pass phrase does not open {key}") from None
        raise CertificateError(
            f"{files.certificate} and {key} are not a certificate and its key: {error}; "
            "right: --tls-cert chain.pem --tls-key key.pem, both PEM"
        ) from None


def fits(error: Exception) -> bool:
    """Return whether the key can be read. If so, it belongs to another certificate."""
    return isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH"


def read_password(files: TlsFiles) -> bytes | None:
    """Return the key's pass phrase from its file or from the environment; None if there is none.

    Raises:
        CertificateError: the file cannot be read.
    """
    if files.password_file is None:
        text = os.environ.get(PASSWORD_VARIABLE)
        return None if text is None else text.encode()
    try:
        with open(files.password_file, "rb") as file:
            return file.read().rstrip(b"\r\n")
    except OSError as error:
        raise CertificateError(f"{files.password_file}: {error.strerror}") from None


@final
class CertificateWatch:
    """Uses renewed files for new connections; open connections keep the old certificate.

    Args:
        context: the context that is in use.
        files: the files that it was loaded from.

    Attributes:
        files: the same.
    """

    def __init__(self, context: ssl.SSLContext, files: TlsFiles) -> None:
        self._context = context
        self.files = files
        self._loaded = self._seen = self._signature()

    def renew(self, *, at_once: bool) -> bool:
        """Load the files, if they have changed and then stayed the same between two calls.

        Args:
            at_once: load them in any case.

        Returns:
            True if they were loaded.

        Raises:
            CertificateError: they cannot be used. The old ones stay in use, and the files are not
                tried again until they change.
        """
        before, self._seen = self._seen, self._signature()
        if not at_once and (self._seen == self._loaded or self._seen != before):
            return False
        self._loaded = self._seen
        load_context(self.files)  # a pair that does not match would spoil the context in use
        load_into(self._context, self.files)
        return True

    def _signature(self) -> list[tuple[int, int, int]]:
        """Return a value that changes when one of the files changes."""
        found = []
        for path in (self.files.certificate, self.files.key or self.files.certificate):
            try:
                status = os.stat(path)
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return found
