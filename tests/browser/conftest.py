"""A real JupyterLab and a real Chromium, shared by all tests of the folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@dataclass(frozen=True)
class Lab:
    """A JupyterLab server with the tutorials in its folder."""

    url: str
    folder: Path
    environment: dict[str, str]


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
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--port=0"]
    options = ["--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder}"]
    server = subprocess.Popen(
        [*command, *options], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        yield Lab(_address(server), folder, environment)
    finally:
        server.terminate()
        server.communicate(timeout=30)
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
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    yield page
    context.close()
