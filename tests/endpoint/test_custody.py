"""The custody file, also after a kill."""

from uuid import UUID

import pytest

from compute_nb.endpoint import machine
from compute_nb.endpoint.agent import settle_past
from compute_nb.endpoint.custody import Custody, Entrusted, read_custody
from compute_nb.endpoint.journal import open_journal
from compute_nb.endpoint.runner.keeper import Keeper

JOURNAL = UUID(int=3)
SETUP = {
    **dict.fromkeys(("python", "folder", "packages", "memory", "live", "custody")),
    **{"limit": 1000, "environ": {}, "kill_s": 1.0},
}


def test_what_is_handed_over_is_there_until_it_is_removed(tmp_path):
    path = tmp_path / "custody"
    custody = Custody(path, JOURNAL, 3)
    places = [custody.add(number) for number in (7, 8, 9)]
    assert custody.is_full
    custody.remove(places[1])
    assert not custody.is_full
    assert sorted(read_custody(path, JOURNAL)) == [(7, True), (9, True)]
    custody.add(10)
    assert sorted(read_custody(path, JOURNAL)) == [(7, True), (9, True), (10, True)]
    custody.close()
    assert sorted(read_custody(path, JOURNAL)) == [(7, True), (9, True), (10, True)]


def test_a_keeper_marks_what_begins_and_a_place_that_is_used_again_is_unmarked(tmp_path):
    path = tmp_path / "custody"
    custody = Custody(path, JOURNAL, 2, marked=True)
    places = {number: custody.add(number) for number in (7, 8)}
    keeper = Keeper({**SETUP, "custody": str(path)})
    assert keeper.mark(places[8], 8)
    assert not keeper.mark(places[7], 6)  # its task was withdrawn, and another one has the place
    keeper.close()
    assert sorted(read_custody(path, JOURNAL)) == [Entrusted(7, False), Entrusted(8, True)]
    custody.remove(places[8])
    custody.add(9)
    custody.close()
    assert sorted(read_custody(path, JOURNAL)) == [Entrusted(7, False), Entrusted(9, False)]


def test_a_task_is_withdrawn_or_begins_and_never_both(tmp_path):
    path = tmp_path / "custody"
    custody = Custody(path, JOURNAL, 2, marked=True)
    places = {number: custody.add(number) for number in (7, 8)}
    keeper = Keeper({**SETUP, "custody": str(path)})
    assert keeper.mark(places[7], 7)
    assert not custody.withdraw(places[7])
    assert custody.withdraw(places[8])
    assert not keeper.mark(places[8], 8)
    keeper.close()
    custody.remove(places[8])
    assert custody.add(9) == places[8]
    assert custody.withdraw(places[8])
    custody.close()


@pytest.mark.parametrize("spoil", ["gone", "other", "short", "text"])
def test_what_is_not_known_is_none(tmp_path, spoil):
    path = tmp_path / "custody"
    custody = Custody(path, JOURNAL, 3)
    custody.add(1)
    custody.close()
    journal = JOURNAL
    match spoil:
        case "gone":
            path.unlink()
        case "other":
            journal = UUID(int=4)
        case "short":
            path.write_bytes(path.read_bytes()[:-1])
        case "text":
            path.write_text("hello")
    assert read_custody(path, journal) is None


def test_an_endpoint_without_either_file_counts_all_as_begun(tmp_path):
    journal = open_journal(tmp_path / "journal.db", machine.boot_id())
    settle_past(journal, tmp_path)
    assert list(journal.held()) == []
    journal.close()
