"""What an application is told about TLS: the extension of ASGI."""

from __future__ import annotations

import hashlib
import ssl
from typing import Any

import pytest

from anyio_mio.asgi.tls import distinguished_name, escape
from tests.asgi import apps
from tests.asgi.served import Client, Served, authority, client_context, server_context, serving
from tests.asgi.test_requests import scope_of
from tests.asgi.test_websockets import websocket


def contexts(mode: ssl.VerifyMode) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context that asks for a certificate in this way, and a client's that has one."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert("localhost").configure_cert(server)
    authority().configure_trust(server)
    server.verify_mode = mode
    client = ssl.create_default_context()
    authority().configure_trust(client)
    certificate = authority().issue_cert(
        "client@example.org", common_name="one, client", organization_name="The clients"
    )
    certificate.configure_cert(client)
    return server, client


def told(served: Served, context: ssl.SSLContext) -> dict[str, Any]:
    """The extension, as the application got it."""
    plain = served.connect()
    with context.wrap_socket(plain.sock, server_hostname="localhost") as sock:
        scope = scope_of(Client(sock).get(b"/show").body)
    found: dict[str, Any] = scope["extensions"]["tls"]
    return found


@pytest.mark.parametrize(
    "version, number",
    [(ssl.TLSVersion.TLSv1_2, 0x0303), (ssl.TLSVersion.TLSv1_3, 0x0304)],
)
def test_the_version_and_the_cipher_suite_are_told(version: ssl.TLSVersion, number: int) -> None:
    client = ssl.create_default_context()
    authority().configure_trust(client)
    client.maximum_version = version
    if number == 0x0303:
        client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")
    with serving(apps.routes, ssl_context=server_context()) as served:
        extension = told(served, client)
    assert extension["tls_version"] == number
    suites = (0xC02B, 0xC02F) if number == 0x0303 else (0x1301, 0x1302, 0x1303)
    assert extension["cipher_suite"] in suites
    assert extension["server_cert"] is None
    assert extension["client_cert_chain"] == []
    assert (extension["client_cert_name"], extension["client_cert_error"]) == (None, None)


@pytest.mark.parametrize("mode", [ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL])
def test_the_certificate_of_the_client_is_told(mode: ssl.VerifyMode) -> None:
    server, client = contexts(mode)
    with serving(apps.routes, ssl_context=server) as served:
        extension = told(served, client)
        assert extension["client_cert_name"].startswith("CN=one\\, client,")
        assert "O=The clients" in extension["client_cert_name"]
        chain = [ssl.PEM_cert_to_DER_cert(each) for each in extension["client_cert_chain"]]
        assert len({hashlib.sha256(each).digest() for each in chain}) == len(chain) >= 1


def test_a_client_without_a_certificate_is_told_as_such() -> None:
    server, _ = contexts(ssl.CERT_OPTIONAL)
    with serving(apps.routes, ssl_context=server) as served:
        extension = told(served, client_context())
    assert (extension["client_cert_chain"], extension["client_cert_name"]) == ([], None)


def test_a_websocket_has_the_extension_too() -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept"})

    with serving(app, "tls", lifespan="off") as served, websocket(served):
        pass
    assert set(scopes[0]["extensions"]) == {"websocket.http.response", "tls"}


def test_a_connection_without_tls_has_no_such_extension() -> None:
    with serving(apps.routes) as served, served.connect() as client:
        assert "tls" not in scope_of(client.get(b"/show").body)["extensions"]


@pytest.mark.parametrize(
    "value, escaped",
    [
        ("plain", "plain"),
        ("a,b+c", "a\\,b\\+c"),
        ("#hash", "\\#hash"),
        (" both ", "\\ both\\ "),
        (" ", "\\ "),
        ("a\\", "a\\\\"),
        ("a\0b", "a\\00b"),
    ],
)
def test_a_value_of_a_name_is_escaped(value: str, escaped: str) -> None:
    assert escape(value) == escaped


def test_a_name_begins_with_its_last_part() -> None:
    subject = ((("countryName", "DE"),), (("commonName", "x"), ("emailAddress", "y")))
    assert distinguished_name(subject) == "CN=x+emailAddress=y,C=DE"
