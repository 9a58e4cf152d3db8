"""A process that holds tasks as an agent does, to be killed: FOLDER ENGINE, tasks on stdin.

Each line of stdin is one message for the journal, in hex. A line on stdout says how many ends are journalled.
"""

import os
import sys
import threading
from pathlib import Path

from compute_nb import wire
from compute_nb.endpoint import machine
from compute_nb.endpoint.agent import settle_past
from compute_nb.endpoint.engines.catalogue import Site, make_engine
from compute_nb.endpoint.engines.worker import WorkerPlan
from compute_nb.endpoint.journal import open_journal
from compute_nb.endpoint.settings import Settings


def main() -> None:
    folder = Path(sys.argv[1])
    journal = open_journal(folder / "journal.db", machine.boot_id())
    settle_past(journal, folder)
    environ = {**os.environ, machine.WORKER_MARK: str(journal.journal_id)}
    plan = WorkerPlan(sys.executable, folder, folder, None, environ)
    engine = make_engine(Settings(engine=sys.argv[2]), Site(folder, journal.journal_id, 2, plan))
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
