from compute_nb.service.migrations import migrations


def test_both_dialects_have_the_same_steps_without_a_gap() -> None:
    sqlite, postgresql = migrations("sqlite"), migrations("postgresql")
    assert [step[:2] for step in sqlite] == [step[:2] for step in postgresql]
    assert [step.number for step in sqlite] == list(range(1, len(sqlite) + 1))
    assert [step.name for step in sqlite[:2]] == ["tables", "retry"]
    assert all(step.statements for step in (*sqlite, *postgresql))
