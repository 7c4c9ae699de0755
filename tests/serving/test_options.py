"""A wrong argument is refused before the server starts, with the right line."""

from __future__ import annotations

import functools
import re
import signal
import ssl
from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc
import pytest
import trio

import anyio_mio
import anyio_mio.trio as mio_trio
from anyio_mio._net.arguments import check_handler
from anyio_mio.serving import AcceptErrorKind, serve_listeners, serve_tcp
from anyio_mio.serving.options import Settings
from tests.shared.certificates import issued_for

Stream = anyio.abc.SocketStream


async def handle(stream: Stream) -> None:
    """Nothing."""


async def handle_with(stream: Stream, more: object) -> None:
    """Nothing."""


def not_async(stream: Stream) -> None:
    """Nothing."""


async def async_hook(error: OSError, kind: AcceptErrorKind) -> None:
    """A hook must answer at once."""


def refusal(**options: Any) -> str:
    """What `serve_tcp()` says of options; it must not have begun to listen."""
    with pytest.raises((TypeError, ValueError)) as caught:
        anyio_mio.run(functools.partial(serve_tcp, handle, 0, host="127.0.0.1", **options))
    return str(caught.value)


class AsyncHook:
    async def __call__(self, error: OSError, kind: AcceptErrorKind) -> None:
        """The same, as an object."""


OUT_OF_RANGE: list[dict[str, Any]] = [
    {"accept_batch": 0},
    {"max_connections": 0},
    {"grace": -1},
    {"grace": float("nan")},
    {"handshake_timeout": 0},
    {"handler_errors": "ignore"},
    {"queued": "forget"},
]

OF_WRONG_TYPE: list[dict[str, Any]] = [
    {"accept_batch": "8"},
    {"max_connections": "8"},
    {"max_connections": True},
    {"grace": "ten"},
    {"shed": "no"},
    {"stop": trio.Event},
    {"signals": signal.SIGTERM},
    {"signals": "SIGTERM"},
    {"on_accept_error": async_hook},
    {"on_accept_error": AsyncHook()},
    {"on_accept_error": AcceptErrorKind.SKIP},
    {"ssl_context": "x"},
]


def without_address(value: object) -> str:
    """The same identifier in every process that runs tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize("options", [*OUT_OF_RANGE, *OF_WRONG_TYPE], ids=without_address)
def test_a_wrong_option_is_named_with_its_value_and_the_right_line(options: dict[str, Any]) -> None:
    message = refusal(**options)
    (name,) = options
    assert name in message
    assert "right: " in message


def test_an_unknown_option_comes_with_a_suggestion() -> None:
    assert refusal(max_conections=3) == (
        "there is no option 'max_conections'; did you mean 'max_connections'?"
    )
    assert "handler_errors" in refusal(colour="red")


@pytest.mark.parametrize(
    "handler", [None, 3, not_async, functools.partial(not_async), print], ids=without_address
)
def test_a_handler_that_is_no_async_function_is_refused(handler: Any) -> None:
    with pytest.raises(TypeError, match="right: async def"):
        anyio_mio.run(serve_tcp, handler, 0)


class Callee:
    async def __call__(self, stream: Stream) -> None:
        """Nothing."""

    def method(self, stream: Stream) -> anyio.abc.TaskStatus[None]:
        raise NotImplementedError

    async def async_method(self, stream: Stream) -> None:
        """Nothing."""


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


@pytest.mark.parametrize(
    "handler",
    [
        handle,
        functools.partial(handle_with, more=1),
        lambda stream: handle_with(stream, 1),
        Callee(),
        Callee().async_method,
        wrapped(handle),
    ],
)
def test_a_handler_may_be_anything_that_returns_an_awaitable(handler: Any) -> None:
    check_handler(handler)


def test_the_same_listener_cannot_be_given_twice() -> None:
    async def main() -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as multi:
            with pytest.raises(ValueError, match="twice"):
                await serve_listeners(handle, [multi, *multi.listeners])

    anyio_mio.run(main)


def with_certificate(protocol: int, **versions: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    for name, value in versions.items():
        setattr(context, name, value)
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        issued_for("127.0.0.1").configure_cert(context)
    return context


def test_a_clients_tls_context_is_refused() -> None:
    message = refusal(ssl_context=with_certificate(ssl.PROTOCOL_TLS_CLIENT))
    assert "client" in message
    assert "right: " in message


TLS_VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", TLS_VERSIONS)
def test_a_tls_context_without_a_certificate_is_refused(version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    assert "load_cert_chain" in refusal(ssl_context=context)


@pytest.mark.parametrize("version", TLS_VERSIONS)
@pytest.mark.parametrize("verify_mode", [ssl.CERT_NONE, ssl.CERT_REQUIRED])
def test_a_servers_tls_context_passes(version: ssl.TLSVersion, verify_mode: Any) -> None:
    how = {"maximum_version": version, "verify_mode": verify_mode}
    Settings(ssl_context=with_certificate(ssl.PROTOCOL_TLS_SERVER, **how))


def test_one_that_finds_its_certificate_by_the_clients_name_passes() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda *_: None
    Settings(ssl_context=context)


WRONG_FOR_TRIO: list[dict[str, Any]] = [
    {"on_accept_error": async_hook},
    {"max_connections": 0},
    {"max_connections": "8"},
    {"accept_batch": 0},
    {"max_conections": 8},
    {"handler": not_async},
]


@pytest.mark.parametrize("options", WRONG_FOR_TRIO, ids=without_address)
def test_the_server_for_trio_refuses_too(options: dict[str, Any]) -> None:
    how = {"handler": handle, "port": 0, "host": "127.0.0.1", **options}
    with pytest.raises((TypeError, ValueError), match=r"right: |did you mean"):
        trio.run(functools.partial(mio_trio.serve_tcp, **how))
