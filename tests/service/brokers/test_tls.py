"""RabbitMQ by amqps and https: the service checks who it is before it says its password."""

import dataclasses
import ssl

import pika
import pytest

from compute_nb.errors import ComputeError
from compute_nb.service.tokens import agent_username

from .conftest import start_rabbit


@pytest.fixture
def secured(rabbit, vhost):
    return dataclasses.replace(
        vhost.options,
        broker=f"amqps://{rabbit.user}@localhost:{rabbit.amqps_port}/{vhost.name}",
        admin=f"https://localhost:{rabbit.admins_port}",
        ca=str(rabbit.ca),
    )


def test_the_service_and_its_agents_speak_tls(rabbit, secured):
    ours = start_rabbit(secured)
    try:
        lab = ours.agent()
        assert ours.call(ours.broker.publish, "", f"{lab}.tasks", b"x" * 1_000_000)
        url = ours.url(agent_username(lab))
        assert url.startswith("amqps://ep.")
        parameters = pika.URLParameters(url)
        parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(cafile=rabbit.ca), "localhost")
        connection = pika.BlockingConnection(parameters)
        assert connection.channel().basic_get(f"{lab}.tasks", auto_ack=True)[2] == b"x" * 1_000_000
        connection.close()
    finally:
        ours.stop()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda o, r: {"ca": None}, "not signed by an authority that this machine trusts"),
        (lambda o, r: {"admin": o.admin.replace("localhost", "127.0.0.1")}, "for another name"),
        (lambda o, r: {"broker": o.broker.replace("localhost", "127.0.0.1")}, "for another name"),
        (lambda o, r: {"broker": o.broker.replace(str(r.amqps_port), str(r.amqp_port))}, "not speak TLS"),
        (lambda o, r: {"ca": str(r.folder / "rabbitmq.conf")}, "can't be read"),
    ],
)
def test_whoever_cannot_show_that_it_is_the_one_gets_no_password(rabbit, secured, change, why):
    with pytest.raises(ComputeError, match=why):
        start_rabbit(dataclasses.replace(secured, **change(secured, rabbit)))
