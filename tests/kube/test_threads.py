"""Answers are read by several threads from the first one on: the classes that they are read into are prepared before."""

from __future__ import annotations

import subprocess
import sys

PROCESSES = 12
"""Of processes whose threads prepare the classes themselves, a third is ended by SIGSEGV."""
SCRIPT = """
import sys, threading
import msgspec
from scheduler.kube import client, objects
from scheduler.stores import history_index

sys.setswitchinterval(1e-7)
metadata = {"name": "a", "uid": "u", "labels": {"a": "b"}}
item = msgspec.json.encode({"metadata": metadata, "items": [{"metadata": metadata}]})
page = msgspec.msgpack.encode(history_index.Page())
reads = [
    lambda: msgspec.convert({"metadata": metadata}, client._StoredShape),
    lambda: msgspec.convert({"metadata": metadata}, client._Shape),
    lambda: msgspec.convert({"metadata": metadata, "items": []}, client._ListShape),
    lambda: history_index._DECODER.decode(page),
] * 2
start = threading.Barrier(len(reads))

def read(number):
    start.wait()
    for _ in range(3):
        reads[number]()

threads = [threading.Thread(target=read, args=(number,)) for number in range(len(reads))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_the_first_answers_may_be_read_by_several_threads_at_once() -> None:
    processes = [subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=subprocess.PIPE) for _ in range(PROCESSES)]
    ends = [(process.communicate()[1], process.returncode) for process in processes]
    assert ends == [(b"", 0)] * PROCESSES
