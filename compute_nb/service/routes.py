"""This module is the table of the web API: all calls that a service answers.

Both the routes and `/openapi.json` are drawn from it: a call that is not described is not served.
"""

from __future__ import annotations

from compute_nb.service import own_calls
from compute_nb.service.extension_routes import ExtensionRoutes
from compute_nb.service.parts import Parts
from compute_nb.service.published_calls import published
from compute_nb.service.web_call import Call


def calls(parts: Parts) -> tuple[Call, ...]:
    """Returns all calls that a service answers."""
    ours = ExtensionRoutes(parts)
    served = (*published(parts, ours), *own_calls.of_the_service(parts, ours))
    return served if parts.config.plain else (*served, *own_calls.extensions(ours))
