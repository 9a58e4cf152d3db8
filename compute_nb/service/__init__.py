"""This package is the service: web API, store, broker, and the hops between them."""
