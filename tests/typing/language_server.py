"""A small client of the language server protocol: what an editor asks while you type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CURSOR = "|"
CAPABILITIES = {
    "textDocument": {
        "hover": {"contentFormat": ["plaintext"]},
        "completion": {"completionItem": {"documentationFormat": ["plaintext"]}},
    },
    "workspace": {"configuration": True},
}


class LanguageServer:
    """Pyright's server, for one folder. Use it in a `with` block."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._number = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pyright.langserver", "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        )

    def __enter__(self) -> Self:
        folder = {"uri": self._root.as_uri(), "name": "user"}
        self.ask(
            "initialize",
            processId=os.getpid(),
            rootUri=self._root.as_uri(),
            capabilities=CAPABILITIES,
            workspaceFolders=[folder],
        )
        self._tell("initialized")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def hover(self, text: str) -> str:
        """Return what is shown for the word at the cursor, ``|`` in the text."""
        found = self.ask("textDocument/hover", **self._open(text))
        return str(found["contents"]["value"]) if found else ""

    def complete(self, text: str) -> list[str]:
        """Return the names that are offered at the cursor."""
        found = self.ask("textDocument/completion", **self._open(text))
        items = found["items"] if isinstance(found, dict) else found or []
        return [item["label"] for item in items]

    def signature(self, text: str) -> str:
        """Return the signature that is shown inside the parentheses of a call."""
        found = self.ask("textDocument/signatureHelp", **self._open(text))
        return str(found["signatures"][0]["label"]) if found else ""

    def ask(self, method: str, **params: Any) -> Any:
        """Send a request and return its result; answer what the server asks before it."""
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        while True:
            message = self._receive()
            if "method" in message:
                self._answer(message)
            elif message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def _open(self, text: str) -> dict[str, Any]:
        """Open a document, and return the place of the cursor in it."""
        before, _, behind = text.partition(CURSOR)
        uri = (self._root / f"user_{self._number}.py").as_uri()
        document = {"uri": uri, "languageId": "python", "version": 1, "text": before + behind}
        self._tell("textDocument/didOpen", textDocument=document)
        line = before.count("\n")
        character = len(before) - (before.rfind("\n") + 1)
        return {
            "textDocument": {"uri": uri},
            "position": {"line": line, "character": character},
        }

    def _answer(self, message: dict[str, Any]) -> None:
        if "id" not in message:
            return
        result: Any = None
        if message["method"] == "workspace/configuration":
            result = [{"pythonPath": sys.executable} for _ in message["params"]["items"]]
        self._send({"id": message["id"], "result": result})

    def _tell(self, method: str, **params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not length:
            raise EOFError("the language server has ended")
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return message
