"""This module is the app of globus-sdk behind a login: how it is made, where it keeps tokens, what it says.

globus-sdk (the extra `compute-nb[globus]`) is imported when one of these is called.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from compute_nb.config import ENVIRONMENT_VARIABLE
from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.loopback import is_loopback

if TYPE_CHECKING:
    from globus_sdk import GlobusApp
    from globus_sdk.gare import GlobusAuthorizationParameters

# The public native client of Globus Compute, and what it asks for.
NATIVE_CLIENT_ID = "4cf29807-cf21-49ec-9443-ff9a3fb9f81c"
RESOURCE_SERVER = "funcx_service"
SCOPE = "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all"


def import_sdk() -> None:
    """Imports globus-sdk.

    Raises:
        ComputeError: It is not installed, or too old.
    """
    try:
        import globus_sdk.globus_app
        import globus_sdk.token_storage  # noqa: F401
    except ImportError as error:
        raise ComputeError(
            f"a Globus login needs globus-sdk 4, which is not here ({error}): "
            f"`{sys.executable} -m pip install 'compute-nb[globus]'`"
        ) from error


def made(home: Home, namespace: str, *, environment: str, client_id: str, secret: str) -> GlobusApp:
    """Returns an app that keeps its tokens in a home.

    Args:
        home: Whose.
        namespace: Of the tokens among those of the home.
        environment: Of Globus.
        client_id: Who asks; "" for Globus Compute's own client and a person.
        secret: Of that client; "" if a person is asked.

    Raises:
        ComputeError: Globus Auth is not known there, or would get secrets in the clear.
    """
    from filelock import FileLock
    from globus_sdk import ClientApp, UserApp
    from globus_sdk.globus_app import GlobusAppConfig
    from globus_sdk.token_storage import SQLiteTokenStorage

    from compute_nb.prompt import Prompt

    _check_auth_url(environment)
    file = home.prepare().globus_file
    # Two processes that make the file at once would get in each other's way.
    with FileLock(file.with_suffix(".lock"), timeout=30):
        if file.exists() and not file.stat().st_size:
            file.unlink()
        storage = SQLiteTokenStorage(file, connect_params={"check_same_thread": False}, namespace=namespace)
    protect(home)
    config = GlobusAppConfig(
        environment=environment,
        token_storage=storage,
        request_refresh_tokens=True,
        token_validation_error_handler=None,  # it would ask the person on any thread
        login_flow_manager=None if secret else Prompt,
    )
    scopes = {RESOURCE_SERVER: SCOPE}
    if secret:
        return ClientApp(
            "compute_nb", client_id=client_id, client_secret=secret, scope_requirements=scopes, config=config
        )
    return UserApp(
        "compute_nb", client_id=client_id or NATIVE_CLIENT_ID, scope_requirements=scopes, config=config
    )


def is_client(app: GlobusApp) -> bool:
    """True if the app gets tokens by its own secret: it never asks a person."""
    from globus_sdk import ClientApp

    return isinstance(app, ClientApp)


def protect(home: Home) -> None:
    """Keeps the file of the tokens from others."""
    home.globus_file.chmod(0o600)


def has_tokens(home: Home, namespace: str) -> bool:
    """True if a home has tokens of that namespace; asks the file alone, without globus-sdk."""
    try:
        with contextlib.closing(sqlite3.connect(f"{home.globus_file.as_uri()}?mode=ro", uri=True)) as store:
            query = "SELECT 1 FROM token_storage WHERE namespace = ? AND resource_server = ?"
            return store.execute(query, (namespace, RESOURCE_SERVER)).fetchone() is not None
    except sqlite3.Error:  # no file, or none of globus-sdk's
        return False


def asked_by(refusal: Mapping[str, Any]) -> GlobusAuthorizationParameters | None:
    """Returns what a service asks of the login; None if it asks nothing that Globus knows."""
    from globus_sdk.gare import to_gare

    asked = to_gare(dict(refusal))
    if asked is None:
        return None
    wanted = asked.authorization_parameters
    reason = refusal.get("reason")
    if wanted.session_message is None and isinstance(reason, str):
        wanted.session_message = reason
    return wanted


def auth_url(environment: str) -> str:
    """Returns where Globus Auth is.

    Raises:
        ComputeError: globus-sdk knows none there.
    """
    from globus_sdk.config import get_service_url

    try:
        return get_service_url("auth", environment)
    except ValueError as error:
        raise ComputeError(
            f"{ENVIRONMENT_VARIABLE} is {environment!r}, where globus-sdk knows no Globus Auth: set "
            "GLOBUS_SDK_SERVICE_URL_AUTH too"
        ) from error


def _check_auth_url(environment: str) -> None:
    url = auth_url(environment)
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ComputeError(f"Globus Auth at {url} would get secrets in the clear: use https")


def said(error: Any) -> str:
    """Returns an error of Globus Auth's API in words, after its HTTP status."""
    text = error.text or ""
    with contextlib.suppress(Exception):  # what a server of no known kind says
        text = error.raw_json.get("error_description") or error.raw_json.get("error") or error.message or text
    return f"{error.http_status}: {str(text)[:200]}"
