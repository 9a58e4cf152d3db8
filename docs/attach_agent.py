"""Runs the published globus-compute-endpoint against a service of ours, in that program's own Python.

    PYTHON attach_agent.py URL TOKEN_FILE COMMAND...

for example `PYTHON attach_agent.py http://127.0.0.1:8765 token start lab`. The published programs know no
option for the address of another service, and log in at Globus: this says where the service is, and puts
its token where the agent looks for one. Nothing else of the agent is touched.
"""

import importlib
import os
import sys
import uuid
from pathlib import Path

from globus_compute_sdk.sdk import client
from globus_sdk.token_storage import SQLiteTokenStorage, TokenStorageData

NEVER = 2**40
COMPUTE = "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all"
PROJECTS = "urn:globus:auth:scope:auth.globus.org:manage_projects"
SCOPES = {"funcx_service": COMPUTE, "auth.globus.org": f"openid {PROJECTS}"}


def keep_token(folder: Path, client_id: str, token: str) -> None:
    """Stores the token as one that Globus has given, which never ends."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    storage = SQLiteTokenStorage(folder / "storage.db", namespace=f"clientprofile/production/{client_id}")
    storage.store_token_data_by_resource_server(
        {
            server: TokenStorageData(
                resource_server=server,
                identity_id=None,
                scope=scope,
                access_token=token,
                refresh_token=None,
                expires_at_seconds=NEVER,
                token_type="Bearer",
            )
            for server, scope in SCOPES.items()
        }
    )
    storage.close()


def main(url: str, token_file: str, *command: str) -> None:
    """Runs a command of the agent's own."""
    url = url.rstrip("/")
    client_id = str(uuid.uuid5(uuid.NAMESPACE_URL, url))
    folder = Path(os.environ.get("GLOBUS_COMPUTE_USER_DIR") or Path.home() / ".globus_compute")
    keep_token(folder, client_id, Path(token_file).read_text().strip())
    # The secret is never sent: the token above does not end.
    os.environ.update(GLOBUS_COMPUTE_CLIENT_ID=client_id, GLOBUS_COMPUTE_CLIENT_SECRET="unused")
    os.environ["GLOBUS_SDK_SERVICE_URL_AUTH"] = f"{url}/"
    client.get_web_service_url = lambda *_, **__: url
    sys.argv = [str(Path(sys.executable).parent / "globus-compute-endpoint"), *command]
    # It reads the path of the program while it is imported.
    importlib.import_module("globus_compute_endpoint.cli").cli_run()


if __name__ == "__main__":
    main(*sys.argv[1:])
