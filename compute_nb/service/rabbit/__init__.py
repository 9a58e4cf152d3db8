"""This package is RabbitMQ as the service's broker: what is there, who may log in, what is on its way.

It is imported by parts, so that a service with the embedded broker goes without pika.
"""
