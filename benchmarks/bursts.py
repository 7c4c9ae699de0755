"""What a burst of connections costs a server, on each of AnyIO's backends.

    python benchmarks/bursts.py [--bursts 1,16,256,4096] [--connections 4096] [--syscalls]

A burst is opened at once; each connection makes a round trip of 64 bytes and is closed by a reset.
The server is a process of its own. Context switches are the voluntary ones of its main thread, CPU
time is its own, and with ``--syscalls`` (which needs strace, and slows everything else down) its
system calls are counted too. One client thread drives the load, so connections/s are a lower bound.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from anyio_mio._demo.backends import installed, runnable_names

RESET = struct.pack("ii", 1, 0)
PAYLOAD = b"x" * 64


def burst(port: int, size: int) -> None:
    """Open ``size`` connections at once, and see each through."""
    clients = {}
    poller = select.poll()
    for _ in range(size):
        client = socket.socket()
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.connect_ex(("127.0.0.1", port))
        clients[client.fileno()] = client
        poller.register(client, select.POLLOUT)
    while clients:
        for fd, events in poller.poll(20_000):
            client = clients[fd]
            if events & select.POLLIN:
                assert client.recv(64) == PAYLOAD
                poller.unregister(client)
                clients.pop(fd).close()
            else:
                client.send(PAYLOAD)
                poller.modify(client, select.POLLIN)


def switches(pid: int) -> int:
    """Voluntary context switches of a process so far."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[0])


def ask(server: subprocess.Popen[str]) -> dict[str, object]:
    """The server's own figures."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write("statistics\n")
    server.stdin.flush()
    answer: dict[str, object] = json.loads(server.stdout.readline())
    return answer


def measure(backend: str, size: int, connections: int, *, trace: bool) -> str:
    """One line of the table."""
    times = max(1, connections // size)
    with tempfile.NamedTemporaryFile("r") as output:
        strace = ["strace", "-f", "-c", "-U", "calls,name", "-o", output.name] if trace else []
        command = [*strace, sys.executable, "-m", "anyio_mio._demo.server", backend]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            assert server.stdin is not None
            port = json.loads(server.stdout.readline())["port"]
            burst(port, 1)
            before, waits, began = ask(server), switches(server.pid), time.perf_counter()
            for _ in range(times):
                burst(port, size)
            seconds = time.perf_counter() - began
            waits, after = switches(server.pid) - waits, ask(server)
            server.stdin.close()
        calls = [int(n) for n in re.findall(r"^\s*(\d+)\s+total$", output.read(), re.MULTILINE)]
    count = times * size
    cpu = (float(str(after["cpu_seconds"])) - float(str(before["cpu_seconds"]))) / count * 1e6
    batches = after.get("accepts_per_wakeup")
    wakeups = sum(batches.values()) if isinstance(batches, dict) else 0
    return (
        f"{backend:8} {size:5} {count / seconds:9.0f}/s  CPU {cpu:6.1f} us"
        f"  switches {waits / count:5.2f}"
        + (f"  system calls {calls[0] / count:5.1f}" if calls else "")
        + (f"  accepts a wake-up {(count + 1) / wakeups:5.1f}" if wakeups else "")
    )


def whole_numbers(text: str) -> list[int]:
    """The sizes in a list with commas, none below one."""
    words = text.split(",")
    if not all(word.isdecimal() and int(word) for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of sizes; right: 1,16,256")
    return [int(word) for word in words]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bursts", type=whole_numbers, default="1,16,256,4096")
    parser.add_argument("--connections", type=int, default=4096)
    parser.add_argument("--backends", type=runnable_names, default=",".join(installed()))
    parser.add_argument("--syscalls", action="store_true")
    arguments = parser.parse_args()
    if arguments.syscalls and shutil.which("strace") is None:
        parser.error("--syscalls needs strace, which is not installed")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for size in arguments.bursts:
        for backend in arguments.backends:
            line = measure(backend, size, arguments.connections, trace=arguments.syscalls)
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
