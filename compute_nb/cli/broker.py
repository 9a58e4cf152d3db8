"""This module is the options by which the service is told of its broker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from compute_nb.errors import ComputeError

if TYPE_CHECKING:
    from compute_nb.service.config import RabbitOptions

FIELDS = {"broker_admin": "admin", "broker_password_file": "password_file", "broker_ca": "ca"}

OPTIONS = (
    click.option(
        "--broker",
        metavar="URL",
        help="`embedded`, or a RabbitMQ: amqp[s]://USER@HOST[:PORT]/VHOST; default: as last time. Its "
        "password comes by COMPUTE_NB_BROKER_PASSWORD or --broker-password-file.",
    ),
    click.option("--broker-admin", metavar="URL", help="Its management API; default: same host, port 15672."),
    click.option("--broker-password-file", type=click.Path(), help="First line: the password of USER."),
    click.option("--broker-ca", type=click.Path(), help="Authorities (PEM) that alone count for it."),
    click.option(
        "--amqp-public-url",
        metavar="URL",
        help="Where agents and clients reach the broker: amqps://NAME:PORT; default: as the service does.",
    ),
)


def rabbit(settings: dict[str, Any]) -> RabbitOptions | None:
    """Takes the options of the broker, but for its public URL, out of `settings`; None if none was given.

    Raises:
        ComputeError: Others without `--broker`.
    """
    from compute_nb.service.config import RabbitOptions

    broker = settings.pop("broker")
    given = {field: settings.pop(option) for option, field in FIELDS.items()}
    for field in ("password_file", "ca"):
        if given[field] is not None:
            given[field] = os.path.abspath(given[field])
    if broker is None and any(given.values()):
        raise ComputeError("options of the broker need --broker URL beside them")
    return None if broker is None else RabbitOptions(broker, **given)


def check(settings: dict[str, Any]) -> str | None:
    """Finds what is wrong before it stands in the list of processes as the service's command line.

    Returns:
        The broker's name, as a service tells it; None if none was asked for.

    Raises:
        ComputeError: An address that can't be meant so, or has a password in it.
    """
    from compute_nb.service.config import EMBEDDED
    from compute_nb.service.rabbit.site import RabbitSite

    options = rabbit(dict(settings))
    if options is None:
        return None
    if options.broker == EMBEDDED:
        return EMBEDDED
    return str(RabbitSite.read(options.broker, "", options.admin, settings["amqp_public_url"], options.ca))
