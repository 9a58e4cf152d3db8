"""A real JupyterLab and a real Chromium, shared by all tests of the folder."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_MS = 60_000  # all of a machine's cores may be busy with something else
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@dataclass
class Lab:
    """A JupyterLab server with the tutorials in its folder."""

    folder: Path
    environment: dict[str, str]
    url: str = ""
    _servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self) -> None:
        """Starts it, at the port that it had before if there was one."""
        command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
        options = [
            "--IdentityProvider.token=",
            "--ServerApp.password=",
            f"--ServerApp.root_dir={self.folder}",
        ]
        port = [f"--port={self.url.rpartition(':')[2].strip('/') or 0}", "--ServerApp.port_retries=0"]
        server = subprocess.Popen(
            [*command, *options, *port],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._servers.append(server)
        self.url = _address(server)
        self._answers()

    def _answers(self) -> None:
        """Waits until it takes connections: it tells its address before."""
        until = time.monotonic() + PATIENCE_MS / 1000
        port = int(self.url.rpartition(":")[2].strip("/"))
        while True:
            try:
                socket.create_connection(("localhost", port), 1).close()
                return
            except OSError:
                if time.monotonic() > until:
                    raise

    def stop(self) -> None:
        """Ends it with its kernels."""
        server = self._servers.pop()
        server.terminate()
        server.communicate(timeout=60)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(notebook, folder)
    environment = {
        **os.environ,
        "COMPUTE_NB_HOME": str(folder / ".home"),
        "JUPYTER_CONFIG_DIR": str(folder / ".jupyter"),
        "JUPYTER_DATA_DIR": str(folder / ".data"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / ".settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / ".workspaces"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    served = Lab(folder, environment)
    served.start()
    try:
        yield served
    finally:
        served.stop()
        stop = [sys.executable, "-m", "compute_nb.cli", "service", "stop"]
        subprocess.run(stop, env=environment, check=False, capture_output=True)


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stderr is not None
    log = []
    for line in server.stderr:
        log.append(line)
        if "http://" in line and "/lab" in line:
            return "http" + line.split("http", 1)[1].split("/lab")[0].strip()
    raise AssertionError("JupyterLab did not start:\n" + "".join(log))


@pytest.fixture
def without_plugin(lab: Lab) -> Iterator[None]:
    """Disables our extension for pages that are loaded meanwhile."""
    config = Path(lab.environment["JUPYTER_CONFIG_DIR"]) / "labconfig" / "page_config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text('{"disabledExtensions": {"compute-nb": true}}')
    yield
    config.unlink()


# Not for the session: Playwright keeps a loop running in this thread, and `asyncio.run` elsewhere fails.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        expect.set_options(timeout=PATIENCE_MS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One for all pages: what JupyterLab consists of is loaded once."""
    made = browser.new_context(viewport={"width": 1280, "height": 1000})
    made.set_default_timeout(PATIENCE_MS)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    yield page
    page.close()
