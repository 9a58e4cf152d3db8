"""How many workers there are, how long they stay, and what they have imported."""

import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

from compute_nb.endpoint.engines import fleet
from compute_nb.endpoint.figures import Pulse

PID = "def pid():\n    import os\n    return os.getpid()\n"
GATED = (  # as many run at a time as have left a file, and they wait for each other
    "def gated(folder, count):\n    import os, time\n"
    "    open(os.path.join(folder, str(os.getpid())), 'w').close()\n"
    "    while len(os.listdir(folder)) < count:\n        time.sleep(0.005)\n    return os.getpid()\n"
)
WAIT_S = 60


def all_at_once(rig, folder: Path, count: int) -> set[int]:
    """The workers, as many as there must be at a time for this to end."""
    folder.mkdir()
    pids = rig.values(rig.submit(GATED, *[((str(folder), count), {}) for _ in range(count)]))
    assert len(set(pids)) == count
    return set(pids)


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(true) -> None:
    limit = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < limit
        threading.Event().wait(0.01)


def test_workers_start_on_demand_and_end_down_to_those_that_are_kept(rigs, tmp_path):
    rig = rigs(workers=3, min_workers=1, idle_s=0.1)
    assert rig.call(PID)
    assert rig.engine.status().alive == 1
    for turn in range(3):  # while the others come to their end, the one that is kept is idle as long
        pids = all_at_once(rig, tmp_path / f"gate{turn}", 3)
        until(lambda: rig.engine.status().alive == 1)
        (kept,) = (pid for pid in pids if running(pid))
        assert rig.call(PID) == kept


def test_kept_workers_are_warm_before_the_first_task_and_come_back_after_their_death(rigs, tmp_path):
    rig = rigs(workers=3, min_workers=2)
    until(lambda: [worker.ready for worker in rig.engine._fleet.workers] == [True, True])
    warm = {worker.pid for worker in rig.engine._fleet.workers}
    assert all_at_once(rig, tmp_path / "gate", 2) == warm
    os.kill(min(warm), signal.SIGKILL)
    until(lambda: min(warm) not in (now := {w.pid for w in rig.engine._fleet.workers}) and len(now) == 2)
    until(lambda: all(worker.ready for worker in rig.engine._fleet.workers))


def test_kept_workers_that_can_not_start_are_not_started_for_ever(rigs, caplog):
    caplog.set_level(logging.INFO)
    rig = rigs(workers=2, min_workers=2, python="/bin/false")
    assert "no worker could be started" in rig.failure(PID).data
    until(lambda: not rig.engine._fleet.workers)

    def starts() -> int:
        return sum("started, pid" in record.getMessage() for record in caplog.records)

    before = starts()
    rig.engine.cancel([999])  # has the engine come by
    rig.engine.cancel([999])
    until(lambda: not rig.engine._loop._orders)
    assert starts() == before <= 8


def test_a_worker_that_has_run_its_tasks_is_replaced_and_none_is_lost(rigs):
    rig = rigs(workers=2, plan={"max_tasks": 3})
    ran = Counter(rig.values(rig.submit(PID, *[((), {})] * 20)))
    assert ran.total() == 20
    assert max(ran.values()) <= 3
    until(lambda: not any(running(pid) for pid, count in ran.items() if count == 3))


def test_chunks_are_no_larger_than_what_a_worker_may_still_run(rigs):
    rig = rigs(workers=1, plan={"max_tasks": 100})
    ran = Counter(rig.values(rig.submit(PID, *[((), {})] * 450)))
    assert sorted(ran.values()) == [50, 100, 100, 100, 100]


def test_what_a_chunk_gives_back_does_not_count(rigs):
    """Short tasks make large chunks; a long one among them has the rest taken back."""
    rig = rigs(workers=2, plan={"max_tasks": 40})
    source = "def work(seconds):\n    import os, time\n    time.sleep(seconds)\n    return os.getpid()\n"
    seconds = [0.2 if place % 50 == 49 else 0.0 for place in range(300)]
    ran = Counter(rig.values(rig.submit(source, *[((one,), {}) for one in seconds])))
    assert ran.total() == 300
    assert max(ran.values()) <= 40


def test_modules_are_imported_before_a_worker_is_up(rigs):
    rig = rigs(workers=1, plan={"preload": ("colorsys", "xml.dom.minidom")})
    source = "def there(name):\n    import sys\n    return name in sys.modules\n"
    assert rig.values(rig.submit(source, "colorsys", "xml.dom.minidom", "ftplib")) == [True, True, False]


def test_of_a_module_that_forks_one_worker_comes(rigs, tmp_path, monkeypatch):
    (tmp_path / "forks.py").write_text("import os\nos.fork()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rig = rigs(workers=1, plan={"preload": ("forks",)})
    source = "def pid(x):\n    import os\n    return os.getpid()\n"
    assert len(set(rig.values(rig.submit(source, *range(50))))) == 1


def test_a_module_that_hangs_is_named_until_it_ends(rigs, tmp_path, monkeypatch):
    monkeypatch.setattr(fleet, "SLOW_S", 0.0)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "hangs.py").write_text(f"open({str(tmp_path / 'fifo')!r}).read()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rig = rigs(workers=1, plan={"preload": ("colorsys", "hangs")})
    until(lambda: "has been importing 'hangs' since 2" in rig.engine.status().trouble)
    pulse = Pulse("processes", rig.engine.status, {})
    told = pulse.due()["compute_nb_trouble"]
    assert "take it out of `preload` and start it again" in told
    assert str(rig.folder / "worker-0.log") in told
    assert pulse.due() is None  # it says so once
    with open(tmp_path / "fifo", "w"):
        until(lambda: rig.engine._fleet.workers[0].importing == "hangs")
    assert rig.call(PID) > 0
    assert "compute_nb_trouble" not in pulse.due()


def test_a_module_that_is_missing_or_broken_is_told_and_stops_nothing(rigs, tmp_path, monkeypatch, caplog):
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rig = rigs(workers=2, min_workers=2, plan={"preload": ("no_such_module", "leaves", "colorsys")})
    source = "def there():\n    import sys\n    return 'colorsys' in sys.modules\n"
    assert rig.call(source) is True
    until(lambda: [worker.ready for worker in rig.engine._fleet.workers] == [True, True])
    told = [one for one in caplog.records if one.levelno == logging.WARNING]
    texts = [one.getMessage() for one in told]
    assert len(texts) == 2, texts
    assert "no_such_module: ModuleNotFoundError: No module named 'no_such_module'" in texts[0]
    assert "leaves: SystemExit: 3" in texts[1]
    assert sys.executable in texts[0]
    assert "not preloaded: leaves" in (rig.folder / "worker-0.log").read_text()
