"""A process that holds tasks as an agent does, in journal and engine, to be killed: FOLDER, tasks on stdin.

Each line of stdin is one message for the journal, in hex. A line on stdout says how many ends are journalled.
"""

import os
import sys
import threading
from pathlib import Path

from compute_nb import wire
from compute_nb.endpoint import machine
from compute_nb.endpoint.agent import settle_past
from compute_nb.endpoint.engines.processes import ProcessEngine
from compute_nb.endpoint.engines.worker import WorkerPlan
from compute_nb.endpoint.journal import open_journal


def main() -> None:
    folder = Path(sys.argv[1])
    journal = open_journal(folder / "journal.db", machine.boot_id())
    settle_past(journal, folder / "slots")
    environ = {**os.environ, machine.WORKER_MARK: str(journal.journal_id)}
    plan = WorkerPlan(sys.executable, folder, folder, None, environ)
    engine = ProcessEngine(plan, folder / "slots", journal.journal_id, 2)
    bell = threading.Event()
    engine.start(bell.set)
    engine.submit(journal.batches())
    for line in sys.stdin:
        body = bytes.fromhex(line)
        engine.submit(journal.accept(wire.decode(body), body))
    ended = 0
    while journal.held():
        bell.wait()
        bell.clear()
        news = engine.take()
        ended += len(journal.end(news.ended))
        engine.settle(news.serial)
        print(ended, flush=True)
    engine.stop()
    journal.close()


if __name__ == "__main__":
    main()
