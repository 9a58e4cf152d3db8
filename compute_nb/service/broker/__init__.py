"""This package is the broker: the contract that the service uses, and an AMQP 0-9-1 broker of our own."""

from compute_nb.service.broker.contract import (
    Broker,
    Census,
    Counted,
    Delivery,
    Grants,
    Guard,
    OnConsumer,
    OnDelivery,
    OnTaken,
    Operation,
)
from compute_nb.service.broker.embedded import EmbeddedBroker
from compute_nb.service.broker.limits import Limits
from compute_nb.service.broker.vhost import Mismatch

__all__ = [
    "Broker",
    "Census",
    "Counted",
    "Delivery",
    "EmbeddedBroker",
    "Grants",
    "Guard",
    "Limits",
    "Mismatch",
    "OnConsumer",
    "OnDelivery",
    "OnTaken",
    "Operation",
]
