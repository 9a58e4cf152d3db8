"""This module is the prompt of a Globus login: an address to open, and the question for the code it gives.

Both go through `print` and `input`, so they work in a terminal and under a notebook's cell alike. Imports
globus-sdk, so it is imported only when a login is needed.
"""

from __future__ import annotations

from globus_sdk.login_flows import CommandLineLoginFlowManager


class Prompt(CommandLineLoginFlowManager):
    """Asks one person for one code."""

    def print_authorize_url(self, authorize_url: str) -> None:
        """Says what to open."""
        print(f"Log in to Globus at this address, then copy the code that it shows:\n\n{authorize_url}\n")  # noqa: T201

    def prompt_for_code(self) -> str:
        """Returns the code that the person enters; an empty line asks again.

        Raises:
            EOFError, NotImplementedError: Nobody can answer.
        """
        code = ""
        while not code:
            code = input("Code from Globus: ").strip()
        return code
