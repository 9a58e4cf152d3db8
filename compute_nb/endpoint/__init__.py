"""This package is an endpoint: the agent that holds tasks for a host, and the workers that run them."""
