"""What stands in front of the application: proxies, limits, and the access log."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from anyio_mio.asgi.proxy import Trusted, read_forwarded
from anyio_mio.asgi.proxy_protocol import ProxyHeaderError, parse_header
from tests.asgi import apps
from tests.asgi.served import KINDS, Client, Kind, Served, TLSSocket, request, serving
from tests.asgi.test_requests import scope_of, wait_for

HEADERS: dict[str, tuple[list[bytes], str, str]] = {
    "one hop": ([b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-Proto: https"], "192.0.2.1", "https"),
    "a spoofed hop": ([b"X-Forwarded-For: 10.9.9.9, 192.0.2.1"], "192.0.2.1", "http"),
    "two proxies of ours": ([b"X-Forwarded-For: 192.0.2.1, 127.0.0.1"], "192.0.2.1", "http"),
    "two fields": (
        [b"X-Forwarded-For: 10.9.9.9", b"X-Forwarded-For: 192.0.2.1"], "192.0.2.1", "http"
    ),
    "a port": ([b"X-Forwarded-For: 192.0.2.1:1234"], "192.0.2.1", "http"),
    "version 6 with a port": ([b"X-Forwarded-For: [2001:db8::1]:1234"], "2001:db8::1", "http"),
    "version 6": ([b"X-Forwarded-For: 2001:db8::1"], "2001:db8::1", "http"),
    "an odd scheme": ([b"X-Forwarded-Proto: gopher"], "127.0.0.1", "http"),
    "a scheme alone": ([b"X-Forwarded-Proto: wss"], "127.0.0.1", "https"),
    "RFC 7239": ([b'Forwarded: for="[2001:db8::1]:80";proto=https;by=x'], "2001:db8::1", "https"),
    "RFC 7239, two hops": ([b"Forwarded: for=1.1.1.1, for=192.0.2.1"], "192.0.2.1", "http"),
    "RFC 7239, malformed": ([b"Forwarded: for=192.0.2.1;;"], "127.0.0.1", "http"),
    "both": ([b"X-Forwarded-For: 192.0.2.1", b"Forwarded: for=3.3.3.3"], "192.0.2.1", "http"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_trusted_proxy_tells_the_client_and_the_scheme(name: str) -> None:
    fields, host, scheme = HEADERS[name]
    with serving(apps.routes) as served, served.connect() as client:
        scope = scope_of(client.get(b"/show", *fields).body)
    assert (scope["client"][0], scope["scheme"]) == (host, scheme)


@pytest.mark.parametrize("options", [{"trusted": ["192.0.2.7"]}, {"proxy_headers": False}])
def test_other_peers_are_not_believed(options: Any) -> None:
    with serving(apps.routes, **options) as served, served.connect() as client:
        scope = scope_of(client.get(b"/show", b"X-Forwarded-For: 192.0.2.1").body)
    assert scope["client"][0] == "127.0.0.1"


def test_a_peer_on_a_unix_socket_is_believed() -> None:
    with serving(apps.routes, "unix") as served, served.connect() as client:
        scope = scope_of(client.get(b"/show", b"X-Forwarded-For: 192.0.2.1").body)
    assert scope["client"] == ("192.0.2.1", 0)


def test_networks_and_the_asterisk_are_trusted() -> None:
    trusted = Trusted(["10.0.0.0/8", "2001:db8::/32"])
    assert trusted.includes("10.1.2.3")
    assert trusted.includes("::ffff:10.1.2.3")
    assert trusted.includes("2001:db8::5%eth0")
    assert not trusted.includes("11.0.0.1")
    assert not trusted.includes("unknown")
    assert Trusted(["*"]).includes("11.0.0.1")
    assert Trusted(["*"]).nearest_stranger(["1.1.1.1", "2.2.2.2"]) == "1.1.1.1"
    with pytest.raises(ValueError, match="'nonsense' is not an address"):
        Trusted(["nonsense"])


def test_a_forwarded_field_of_any_form_is_read_or_ignored() -> None:
    assert read_forwarded(b"") == ([], b"")
    assert read_forwarded(b"for=_hidden, for=unknown") == (["_hidden", "unknown"], b"")
    assert read_forwarded(b'for="1.2.3.4') == ([], b"")


ADDRESSES = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2")
BINARY = b"\r\n\r\n\x00\r\nQUIT\n"

PROXY_LINES = {
    "version 1": b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 443\r\n",
    "version 2": BINARY + struct.pack("!BBH", 0x21, 0x11, 12) + ADDRESSES
    + struct.pack("!HH", 1111, 443),
    "version 2 with more": BINARY + struct.pack("!BBH", 0x21, 0x11, 20) + ADDRESSES
    + struct.pack("!HH", 1111, 443) + b"\x04\x00\x05extra",
}  # fmt: skip


@pytest.mark.parametrize("name", PROXY_LINES)
@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("bytewise", [True, False])
def test_a_proxy_header_tells_the_addresses(name: str, kind: Kind, bytewise: bool) -> None:
    data = PROXY_LINES[name] + request(b"GET", b"/show")
    with serving(apps.routes, kind, proxy_protocol=True) as served, served.connect() as client:
        for piece in [data[i : i + 1] for i in range(len(data))] if bytewise else [data]:
            client.send(piece)
        scope = scope_of(client.read_answer().body)
        assert scope["client"] == ("192.0.2.1", 1111)
        assert scope["server"] == ("192.0.2.2", 443)
        assert client.get(b"/hello").body == b"hello"


@pytest.mark.parametrize(
    "data", [b"PROXY UNKNOWN\r\n", BINARY + b"\x20\x00\x00\x00", BINARY + b"\x21\x31\x00\x00"]
)
def test_a_proxy_that_does_not_say_is_itself_the_client(data: bytes) -> None:
    with serving(apps.routes, proxy_protocol=True) as served, served.connect() as client:
        client.send(data)
        assert scope_of(client.get(b"/show").body)["client"][0] == "127.0.0.1"


BAD_PROXY_LINES = (
    b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1111\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 70000\r\n",
    b"PROXY TCP4 2001:db8::1 192.0.2.2 1111 443\r\n",
    b"PROXY TCP6 nonsense 2001:db8::1 1111 443\r\n",
    b"PROXY TCP4 " + b"1" * 200,
    b"PROXY UNKNOWN " + b"1" * 200 + b"\r\n",
    BINARY + b"\x31\x11\x00\x0c" + b"x" * 12,
    BINARY + b"\x21\x11\x00\x04" + b"x" * 4,
)


@pytest.mark.parametrize("data", BAD_PROXY_LINES)
def test_a_trusted_peer_without_a_proxy_header_is_hung_up_on(data: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        parse_header(data)
    with serving(apps.routes, proxy_protocol=True) as served:
        assert served.ask(data + request(b"GET", b"/hello")).removesuffix(b"<reset>") == b""


def test_an_untrusted_peer_is_asked_for_no_proxy_header() -> None:
    options: Any = {"proxy_protocol": True, "trusted": ["192.0.2.7"]}
    with serving(apps.routes, **options) as served:
        with served.connect() as client:
            assert client.get(b"/hello").body == b"hello"
        assert served.ask(PROXY_LINES["version 1"]).startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("name", PROXY_LINES)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_proxy_header_comes_before_the_handshake(name: str, at_once: bool) -> None:
    with (
        serving(apps.routes, "tls", proxy_protocol=True) as served,
        behind_a_proxy(served, PROXY_LINES[name], at_once=at_once) as client,
    ):
        for _ in range(2):
            scope = scope_of(client.get(b"/show", b"X-Forwarded-For: 192.0.2.9").body)
            assert scope["client"] == ("192.0.2.9", 0)
            assert scope["server"] == ("192.0.2.2", 443)
            assert (scope["scheme"], scope["extensions"]["tls"]["tls_version"]) == ("https", 0x0304)
        scope = scope_of(client.get(b"/show").body)
        assert scope["client"] == ("192.0.2.1", 1111)
        client.send(request(b"GET", b"/hello", b"Connection: close"))
        assert client.read_answer().body == b"hello"
        assert client.read_all() == b""  # with close_notify, or TLS would call it cut short


@contextmanager
def behind_a_proxy(served: Served, header: bytes, *, at_once: bool) -> Iterator[Client]:
    """A TLS client whose connection begins with a PROXY header."""
    with socket.create_connection(served.address, 5) as sock:
        sock.sendall(b"" if at_once else header)
        yield Client(TLSSocket(sock, header if at_once else b""))


def test_a_trusted_peer_that_begins_with_tls_is_hung_up_on() -> None:
    with (
        serving(apps.routes, "tls", proxy_protocol=True) as served,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        served.connect()


def test_a_handshake_behind_a_proxy_header_has_a_limit_and_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    options: Any = {"proxy_protocol": True, "handshake_timeout": 0.3}
    with serving(apps.routes, "tls", **options) as served:
        for more in (b"", b"garbage\r\n\r\n"):
            with socket.create_connection(served.address, 5) as sock:
                sock.sendall(PROXY_LINES["version 1"] + more)
                answer = sock.recv(100)
                assert not answer or answer[0] == 21  # an alert of TLS
    assert caplog.records == []


def slow(going: threading.Event) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            going.set()
            await anyio.sleep(0.5)
        await apps.name(scope, receive, send)

    return app


def test_requests_beyond_the_limit_of_concurrency_get_a_503(
    caplog: pytest.LogCaptureFixture,
) -> None:
    going = threading.Event()
    options: Any = {"lifespan": "off", "limit_concurrency": 1, "access_log": "plain"}
    with serving(slow(going), **options) as served, served.connect() as client:
        client.send(request(b"GET", b"/slow"))
        assert going.wait(5)
        assert served.ask(request(b"GET", b"/quick")).startswith(b"HTTP/1.1 503 ")
        assert client.read_answer().body == b"/slow"
        assert client.get(b"/again").body == b"/again"
        wait_for(lambda: len(access(caplog)) == 3)
    assert '"GET /quick HTTP/1.1" 503 19 ' in access(caplog)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_access_log_has_a_line_for_each_answer(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(apps.routes, kind, access_log="plain") as served, served.connect() as client:
        client.get(b"/hello?a=b")
        client.send(request(b"HEAD", b"/hello"))
        client.read_answer(b"HEAD")
        wait_for(lambda: len(access(caplog)) == 2)
    first, second = access(caplog)
    assert '"GET /hello?a=b HTTP/1.1" 200 5 0.' in first
    assert first.startswith("unix " if kind == "unix" else "127.0.0.1:")
    assert '"HEAD /hello HTTP/1.1" 200 ' in second


def test_the_access_log_has_the_status_of_an_answer_that_the_server_gave(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(apps.routes, access_log="plain") as served, served.connect() as client:
        status = client.get(b"/fail").status
        client.close()
        wait_for(lambda: access(caplog))
    assert status == 500
    assert '" 500 21 0.' in access(caplog)[0]


def test_the_access_log_may_be_json(caplog: pytest.LogCaptureFixture) -> None:
    with serving(apps.routes, access_log="json") as served, served.connect() as client:
        client.get(b"/name/%22")
        wait_for(lambda: access(caplog))
    entry = json.loads(access(caplog)[0])
    assert (entry["method"], entry["target"], entry["status"]) == ("GET", "/name/%22", 200)
    assert entry["bytes"] == 9
    assert 0 <= entry["seconds"] < 5


def test_there_is_no_access_log_unless_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(apps.routes) as served, served.connect() as client:
        client.get(b"/hello")
    assert access(caplog) == []


def access(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "anyio_mio.access"]
