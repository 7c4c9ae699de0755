"""The log's two formats."""

from __future__ import annotations

import json
import os

from anyio_mio._supervisor.log import OUTPUT, Entry, Log, as_json, as_plain_text
from anyio_mio._supervisor.writer import descriptor_writer


def test_an_event_in_plain_text_has_one_word_for_each_value() -> None:
    entry = Entry("worker ready", fields={"worker": 1, "error": 'no "x"', "name": "\x1b[2J"})

    text = as_plain_text(entry).partition(" ")[2].partition(" ")[2]
    assert text == r'worker ready worker=1 error="no \"x\"" name="\u001b[2J"'


def test_a_record_in_json_has_its_time_level_logger_worker_and_traceback() -> None:
    entry = Entry("it failed", "error", "app", 1.5, {"worker": 2}, "Traceback\n  more")

    assert json.loads(as_json(entry)) == {
        "time": 1.5,
        "level": "error",
        "logger": "app",
        "event": "it failed",
        "worker": 2,
        "exception": "Traceback\n  more",
    }
    assert "\n" not in as_json(entry)


def test_a_record_in_plain_text_has_its_level_logger_worker_and_traceback() -> None:
    entry = Entry("it failed", "error", "app", fields={"worker": 2}, exception="Traceback")

    assert as_plain_text(entry).endswith(" ERROR app worker=2: it failed\nTraceback")


def test_a_printed_line_stays_as_it_is_in_plain_text() -> None:
    assert as_plain_text(Entry("Hello", logger=OUTPUT, fields={"worker": 1})) == "Hello"


def test_lines_that_were_lost_are_counted_in_the_log() -> None:
    read, write = os.pipe()
    log = Log(as_json, descriptor_writer(write))
    while not log.writer.dropped:
        log("x" * 10_000)
    text = b""
    while not log.writer.flush():
        text += os.read(read, 65536)
    os.set_blocking(read, False)
    text += os.read(read, 1 << 20)
    log("after")
    text += os.read(read, 1 << 20)
    os.close(write)
    os.close(read)

    *_, lost, after = map(json.loads, text.splitlines())
    assert (lost["event"], lost["count"], after["event"]) == ("log lines lost", 1, "after")
