"""A real JupyterLab and a real Chromium, shared by all tests of the folder."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from browser.notebook import Notebook
from own_ports import free_ports
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_MS = 60_000  # all of a machine's cores may be busy with something else
COLLABORATION = "jupyter-collaboration==5.0.4"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@dataclass
class Lab:
    """A JupyterLab server with the tutorials in its folder."""

    folder: Path
    environment: dict[str, str]
    options: Sequence[str] = ()
    url: str = ""
    _port: int = field(default_factory=lambda: free_ports(1)[0])
    _servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Starts it, again at the port that it had before."""
        command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
        options = [
            *self.options,
            "--IdentityProvider.token=",
            "--ServerApp.password=",
            f"--ServerApp.root_dir={self.folder}",
        ]
        port = [f"--port={self._port}", "--ServerApp.port_retries=0"]
        log = self.folder / f".lab-{len(list(self.folder.glob('.lab-*')))}.log"
        with log.open("w") as written:  # a pipe that nobody reads would hold the server up once it is full
            server = subprocess.Popen(
                [*command, *options, *port], cwd=self.folder, env=self.environment, stderr=written
            )
        self._servers.append(server)
        self.url = _address(server, log)
        self._answers()

    def _answers(self) -> None:
        """Waits until it takes connections: it tells its address before."""
        until = time.monotonic() + PATIENCE_MS / 1000
        while True:
            try:
                socket.create_connection(("localhost", self._port), 1).close()
                return
            except OSError:
                if time.monotonic() > until:
                    raise

    def stop(self) -> None:
        """Ends it with its kernels."""
        server = self._servers.pop()
        server.terminate()
        server.wait(PATIENCE_MS / 1000)


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


@pytest.fixture(scope="session")
def shared_lab(lab: Lab, tmp_path_factory: pytest.TempPathFactory, pytestconfig) -> Iterator[Lab]:
    """A server with collaboration, which its mere presence turns on: the other tests are to have none.

    Its packages are in a folder of their own, kept in pytest's cache; all else is the other server's.
    """
    extra = _collaboration(pytestconfig.cache.mkdir("collaboration-{}.{}".format(*sys.version_info)))
    (packages,) = extra.glob("lib/python*/site-packages")
    environment = {
        **lab.environment,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH", "")])),
        "JUPYTER_PATH": str(extra / "share" / "jupyter"),
        "JUPYTER_CONFIG_PATH": str(extra / "etc" / "jupyter"),
        "JUPYTERLAB_WORKSPACES_DIR": str(lab.folder / ".workspaces-shared"),
    }
    served = Lab(tmp_path_factory.mktemp("shared"), environment, ["--LabApp.expose_app_in_browser=True"])
    served.start()
    yield served
    served.stop()


def _collaboration(folder: Path) -> Path:
    done = folder / "done"
    if not (done.exists() and done.read_text() == COLLABORATION):
        shutil.rmtree(folder)
        install = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        command = [*install, "--prefix", str(folder), COLLABORATION]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"collaboration can't be installed: {made.stderr[-300:]}")
        done.write_text(COLLABORATION)
    return folder


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    """Waits until it tells its address."""
    until, pause = time.monotonic() + 2 * PATIENCE_MS / 1000, threading.Event()
    while server.poll() is None and time.monotonic() < until:
        for line in log.read_text().splitlines():
            if "http://" in line and "/lab" in line:
                return "http" + line.split("http", 1)[1].split("/lab")[0].strip()
        pause.wait(0.05)
    raise AssertionError("JupyterLab did not start:\n" + log.read_text())


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
    made = _context(browser)
    yield made
    made.close()


@pytest.fixture
def other_browser(browser: Browser) -> Iterator[BrowserContext]:
    """Another person's, or the same person's after all windows were closed: nothing of the first is in it."""
    made = _context(browser)
    yield made
    made.close()


def _context(browser: Browser) -> BrowserContext:
    made = browser.new_context(viewport={"width": 1280, "height": 1000})
    made.set_default_timeout(PATIENCE_MS)
    return made


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    yield page
    page.close()


@pytest.fixture
def notebook(lab: Lab, page: Page, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    made = Notebook(lab, page, f"{request.node.name}.ipynb").write()
    yield made
    made.release()
