"""This package is RabbitMQ as the service's broker: what is there, who may log in, what is on its way."""

from compute_nb.service.rabbit import secret
from compute_nb.service.rabbit.broker import RabbitBroker
from compute_nb.service.rabbit.site import RabbitSite

__all__ = ["RabbitBroker", "RabbitSite", "secret"]
