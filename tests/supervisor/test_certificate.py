"""Certificates: what can be wrong with them, and taking up renewed ones."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from anyio_mio._supervisor.certificate import (
    PASSWORD_VARIABLE,
    CertificateError,
    CertificateWatch,
    load_context,
)
from anyio_mio._supervisor.configuration import TlsFiles

AUTHORITY = trustme.CA()


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    found = TlsFiles(str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))
    write_pair(found)
    return found


def write_pair(files: TlsFiles, *, only_certificate: bool = False) -> None:
    pair = AUTHORITY.issue_cert("localhost")
    pair.cert_chain_pems[0].write_to_path(files.certificate)
    if not only_certificate:
        pair.private_key_pem.write_to_path(str(files.key))


def encrypt(files: TlsFiles, password: bytes) -> None:
    path = Path(str(files.key))
    key = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(
            Encoding.PEM,
            PrivateFormat.TraditionalOpenSSL,
            BestAvailableEncryption(password),
        )
    )


def test_a_key_with_a_pass_phrase_is_not_asked_for_but_explained(files: TlsFiles) -> None:
    encrypt(files, b"secret")

    with pytest.raises(CertificateError, match="needs a pass phrase; right: --tls-key-password"):
        load_context(files)


def test_the_pass_phrase_comes_from_a_file_or_the_environment(
    files: TlsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypt(files, b"secret")
    (tmp_path / "password").write_text("secret\n")
    by_file = TlsFiles(files.certificate, files.key, str(tmp_path / "password"))

    assert isinstance(load_context(by_file), ssl.SSLContext)
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    assert isinstance(load_context(files), ssl.SSLContext)
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong")
    with pytest.raises(CertificateError, match=r"the pass phrase does not open .*k\.pem"):
        load_context(files)


def test_a_key_of_another_certificate_is_one_line(files: TlsFiles) -> None:
    write_pair(files, only_certificate=True)

    with pytest.raises(CertificateError, match="are not a certificate and its key") as raised:
        load_context(files)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_missing_is_one_line(files: TlsFiles) -> None:
    Path(str(files.key)).unlink()

    with pytest.raises(CertificateError, match="No such file"):
        load_context(files)


def test_renewed_files_are_taken_up_once_both_are_there(files: TlsFiles) -> None:
    watch = CertificateWatch(load_context(files), files)
    assert not watch.renew(at_once=False)
    write_pair(files, only_certificate=True)
    assert not watch.renew(at_once=False)  # it has just changed: the key may follow
    write_pair(files)
    assert not watch.renew(at_once=False)

    assert watch.renew(at_once=False)
    assert not watch.renew(at_once=False)


def test_renewed_files_that_do_not_match_are_refused_once_and_leave_the_old_ones(
    files: TlsFiles,
) -> None:
    context = load_context(files)
    watch = CertificateWatch(context, files)
    write_pair(files, only_certificate=True)
    assert not watch.renew(at_once=False)
    with pytest.raises(CertificateError):
        watch.renew(at_once=False)
    assert not watch.renew(at_once=False)
    write_pair(files)
    assert not watch.renew(at_once=False)

    assert watch.renew(at_once=False)
