"""A real Chromium and a real JupyterLab for the tests of what people see."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE = 180_000  # milliseconds, for a machine that has much else to do
# Two packages give a widget two seconds, which a busy machine does not keep. ipywidgets 8.1 calls one that comes at the
# very end of the second one not found for good, anywidget 0.11 says that it failed. Here they wait a minute.
SLOW_CLOCK = """(() => {
  const {now} = Date, start = now(), {timeout} = AbortSignal;
  Date.now = () => start + (now() - start) / 30;
  AbortSignal.timeout = time => timeout.call(AbortSignal, 30 * time);
})()"""
# The toolbar says "idle" before a cell can run; these three together do not.
READY = """() => {
  const widget = window.jupyterapp?.shell?.currentWidget;
  return widget?.context?.isReady && widget?.sessionContext?.isReady
    && widget.sessionContext.session?.kernel?.status === "idle";
}"""


def executable():
    """Return the Chromium of the system: the one that CHROME names, or the first under its usual names."""
    usual = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    return os.environ.get("CHROME") or next(usual, "/usr/bin/chromium")


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        yield browser
        browser.close()


class Lab:
    """A JupyterLab that shares nothing with the user's own."""

    module, application = "jupyterlab", "LabApp"
    address = "lab/workspaces/e2e/tree/{name}?token={token}&reset"

    def __init__(self, root):
        self.root = root
        self.token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.base = f"http://127.0.0.1:{probe.getsockname()[1]}"

    def start(self):
        self._configure(
            ".settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings",
            {"fetchNews": "false", "checkForUpdates": False},
        )
        # The debugger asks each kernel for its state, and logs an error when the kernel ends before it answers.
        self._configure(
            ".config/labconfig/page_config.json", {"disabledExtensions": {"@jupyterlab/debugger-extension": True}}
        )
        places = {
            "JUPYTER_CONFIG_DIR": ".config",
            "JUPYTER_DATA_DIR": ".data",
            "JUPYTERLAB_SETTINGS_DIR": ".settings",
            "JUPYTERLAB_WORKSPACES_DIR": ".workspaces",
            "IPYTHONDIR": ".ipython",
        }
        own = {name: str(self.root / folder) for name, folder in places.items()}
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with (self.root / "lab.log").open("wb") as log:
            self.server = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    self.module,
                    "--no-browser",
                    "--ip=127.0.0.1",
                    f"--port={self.base.rpartition(':')[2]}",
                    "--ServerApp.port_retries=0",
                    f"--IdentityProvider.token={self.token}",
                    f"--ServerApp.root_dir={self.root}",
                    "--ServerApp.allow_root=True",
                    f"--{self.application}.expose_app_in_browser=True",
                ],
                stdout=log,
                stderr=log,
                env=os.environ | own | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )
        deadline = time.monotonic() + 120
        while not self._answers():
            assert self.server.poll() is None, (self.root / "lab.log").read_text()[-2000:]
            assert time.monotonic() < deadline, (self.root / "lab.log").read_text()[-2000:]
            time.sleep(0.2)

    def _configure(self, place, values):
        path = self.root / place
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))

    def _answers(self):
        try:
            with urllib.request.urlopen(f"{self.base}/api/status?token={self.token}", timeout=1):  # noqa: S310 - its own server
                return True
        except OSError:
            return False

    def write(self, name, *cells):
        """Write a notebook of code cells."""
        # Without a kernel's name JupyterLab would ask for one.
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        nbformat.write(notebook, self.root / name)

    def open(self, page, name):
        """Open a notebook and wait until its kernel can run cells."""
        page.add_init_script(SLOW_CLOCK)
        page.goto(f"{self.base}/{self.address.format(name=name, token=self.token)}")
        page.locator(".jp-Notebook").wait_for(timeout=PATIENCE)
        page.wait_for_function(READY, timeout=PATIENCE)

    def listen(self, page, troubles):
        """Note errors, and requests that leave this machine; what JupyterLab says about its own parts is not noted."""
        page.on("console", lambda said: troubles.append(f"console: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        own = (self.base, "data:", "blob:")
        page.on("request", lambda asked: None if asked.url.startswith(own) else troubles.append(asked.url))

    def stop(self):
        self.server.terminate()
        self.server.wait(120)


class Notebook7(Lab):
    """A Notebook 7, the classic one's successor: the same server, its own page."""

    module, application = "notebook", "JupyterNotebookApp"
    address = "notebooks/{name}?token={token}"


@pytest.fixture
def notebook7(tmp_path):
    notebook = Notebook7(tmp_path)
    notebook.start()
    yield notebook
    notebook.stop()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("lab"))
    lab.start()
    yield lab
    lab.stop()
