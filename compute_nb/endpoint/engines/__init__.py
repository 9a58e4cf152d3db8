"""This package is the engines of an endpoint: ways to run tasks, behind the contract of `endpoint.engine`."""
