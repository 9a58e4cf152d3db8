"""docs/rabbitmq.md is true: its commands set a RabbitMQ up, and its table is what the service sets there."""

import re
import shlex
from pathlib import Path
from uuid import uuid4

import pytest

from compute_nb.service.config import RabbitOptions
from compute_nb.service.tokens import agent_username, client_username, grants

from .conftest import start_rabbit

TEXT = (Path(__file__).parents[3] / "docs" / "rabbitmq.md").read_text()
PASSWORD = "$(cat /etc/compute_nb/rabbitmq-password)"


def commands(program):
    return [shlex.split(line)[1:] for line in TEXT.splitlines() if line.startswith(f"    {program} ")]


@pytest.fixture
def set_up(rabbit, tmp_path):
    """A user as the commands make it, and what the service is then told."""
    file = tmp_path / "password"
    file.write_text("its password\n")
    rabbit.call("PUT", "users/guest", {"password": "guest", "tags": ""})
    for words in commands("rabbitmqctl"):
        rabbit.control(*("its password" if word == PASSWORD else word for word in words))
    ((_, _, option, broker, *rest),) = commands("compute-nb")
    assert (option, rest) == ("--broker", ["--broker-password-file", "/etc/compute_nb/rabbitmq-password"])
    yield RabbitOptions(
        broker.replace("127.0.0.1", f"127.0.0.1:{rabbit.amqp_port}"),
        f"http://127.0.0.1:{rabbit.admin_port}",
        password_file=str(file),
    )
    rabbit.call("DELETE", "users/compute_nb")
    rabbit.call("DELETE", "vhosts/compute_nb")


def test_the_commands_are_enough_and_the_permissions_are_as_the_table_says(rabbit, set_up):
    assert commands("rabbitmq-plugins") == [["enable", "rabbitmq_management"]]
    ours = start_rabbit(set_up)
    user, lab = ours.client(), ours.agent()
    found = {row["user"]: row for row in rabbit.call("GET", "vhosts/compute_nb/permissions")}
    topics = rabbit.call("GET", "vhosts/compute_nb/topic-permissions")
    ours.stop()
    assert set(found) - {rabbit.user} == {"compute_nb", client_username(user), agent_username(lab)}
    for username, row in table({"<user>": user.hex, "<id>": str(lab)}).items():
        assert [found[username][name] for name in ("configure", "write", "read")] == row[:3]
        said = dict(re.findall(r"`(\w+)`: `([^`]+)`", row[3]))
        assert {t["exchange"]: t["write"] for t in topics if t["user"] == username} == said
    assert "guest" not in {row["name"] for row in rabbit.call("GET", "users")}


def table(names):
    """The rows of the document, by user, with these names in them."""
    rows = {}
    for line in TEXT.splitlines():
        if line.startswith(("| `u.", "| `ep.")):
            for name, value in names.items():
                line = line.replace(name, value)
            user, *cells = (cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            rows[user.strip("`")] = [cell.strip("`") for cell in cells[:3]] + [cells[3]]
    assert len(rows) == 2
    return rows


def test_a_name_of_nobody_gets_nothing():
    assert grants("compute_nb") is None
    assert grants(f"ep.{uuid4()}x") is None
