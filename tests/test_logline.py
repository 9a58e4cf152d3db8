"""Lines of the log: ids of tasks, as text and as JSON; no secrets, no lines that others have begun."""

import json
import logging
from uuid import UUID

import pytest

from compute_nb import logline

TASK, ENDPOINT = UUID(int=1), UUID(int=2)
SECRET = "5e" * 32


def record(message, *args, **extra):
    one = logging.LogRecord("compute_nb.x", logging.INFO, __file__, 1, message, args, None)
    one.__dict__.update(extra)
    return one


@pytest.mark.parametrize("formatter", [logline.TextLine(), logline.JsonLine()])
@pytest.mark.parametrize(
    "text",
    [
        f"cnb_{'0a' * 8}_{SECRET}",
        f"/v3/compute_nb/tokens/cnb_{'0a' * 8}_{SECRET}",
        f"amqp://u.{'1' * 32}:{SECRET}@127.0.0.1:5672/%2F",
        f"postgresql://me:{SECRET}@db/x",
    ],
)
def test_tokens_and_passwords_are_cut_out(formatter, text):
    line = formatter.format(record("GET %s", text))
    assert SECRET not in line
    assert "…" in line


def test_what_others_sent_begins_no_line():
    line = logline.TextLine().format(record("GET %s", "/x\n2026-01-01 INFO all is well\r\x1b[2J"))
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


def test_json_lines_have_the_ids_and_the_error():
    one = record("task %s: sent", TASK, task_id=str(TASK), endpoint_id=str(ENDPOINT))
    fields = json.loads(logline.JsonLine().format(one))
    assert (fields["task_id"], fields["endpoint_id"], fields["level"]) == (str(TASK), str(ENDPOINT), "INFO")
    try:
        raise ValueError(f"amqp://a:{SECRET}@b\n")
    except ValueError as error:
        one.exc_info = (ValueError, error, error.__traceback__)
    line = logline.JsonLine().format(one)
    assert "ValueError" in json.loads(line)["traceback"]
    assert SECRET not in line
    assert "\n" not in line


def test_a_hop_tells_each_task_and_nothing_above_debug(caplog):
    log = logging.getLogger("compute_nb.test_logline")
    with caplog.at_level(logging.INFO, log.name):
        logline.told(log, "sent", [TASK])
    assert not caplog.records
    with caplog.at_level(logging.DEBUG, log.name):
        logline.told(log, "sent", [TASK, ENDPOINT], endpoint_id=ENDPOINT, task_group_id=None)
    assert [r.task_id for r in caplog.records] == [str(TASK), str(ENDPOINT)]
    assert caplog.records[0].getMessage() == f"task {TASK}: sent, endpoint {ENDPOINT}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", ("info", False)),
        ("debug,json", ("debug", True)),
        (" JSON ", ("info", True)),
        ("loud", ("info", False)),
    ],
)
def test_the_environment_chooses(words, expected):
    assert logline.chosen({logline.VARIABLE: words}) == expected
    assert logline.chosen({logline.VARIABLE: logline.spelled(*expected)}) == expected
