"""A cloud as a user has it: `edgetwin cloud ...` in processes of its own, on a state folder and ports of the test."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.ports import free_ports
from tests.typist import typed

START_S = 30.0
EDGETWIN = (sys.executable, "-c", "from edgehub.cli import main; main()")
CANARY = "c4n4ry-of-the-store-password"


class CloudProcess:
    """State folder, settings in the environment, and the process that runs."""

    def __init__(self, folder: Path, **more: str):
        self.folder = folder
        self.log = folder.parent / f"{folder.name}.log"
        self.gateways_port, self.apps_port, self.web_port = free_ports(3)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("EDGETWIN_")},
            "EDGETWIN_CLOUD_STATE": str(folder),
            "EDGETWIN_CLOUD_BROKER_GATEWAYS": f"127.0.0.1:{self.gateways_port}",
            "EDGETWIN_CLOUD_BROKER_APPS": f"127.0.0.1:{self.apps_port}",
            "EDGETWIN_CLOUD_WEB_LISTEN": f"127.0.0.1:{self.web_port}",
            "EDGETWIN_CLOUD_PUBLIC_HOST": "localhost",
            "EDGETWIN_CLOUD_WORKERS": "1",
            "PATH": os.environ["PATH"] + ":/usr/sbin",
            **more,
        }
        self.process: subprocess.Popen | None = None

    def run(self, *words, check=True, **more):
        """A command beside it."""
        done = typed(words, {**self.environment, **more}, 60)
        assert not check or done.returncode == 0, done.stderr
        return done

    def json(self, *words):
        return json.loads(self.run(*words, "--json").stdout)

    def start(self):
        """Start it and wait until its web server answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*EDGETWIN, "cloud", "run"], env=self.environment, stdout=log, stderr=log)
        ends_s = time.monotonic() + START_S
        while True:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError):
                assert self.fetch("/identity/ca")[0] == 200
                return
            assert time.monotonic() < ends_s, self.log.read_text()
            time.sleep(0.05)

    def stop(self, how=signal.SIGINT):
        self.process.send_signal(how)
        return self.process.wait(30)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def ca(self):
        return (self.folder / "ca" / "gateways.pem").read_text()

    def children(self):
        """Name and pid of each child that runs."""
        return {one["name"]: one["pid"] for one in self.json_status()["children"]}

    def json_status(self):
        done = self.run("cloud", "status", "--json", check=False)
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def fetch(self, path, body=None, method=None, **headers):
        """One request, with a client that shares no code with ours; status and body."""
        context = ssl.create_default_context(cadata=self.ca)
        url = f"https://localhost:{self.web_port}{path}"
        asked = urllib.request.Request(url, body, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=10, context=context) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except urllib.error.URLError as error:
            raise OSError(str(error)) from None

    def fetch_json(self, path, body=None, **more):
        status, answer = self.fetch(path, body, **more)
        return status, json.loads(answer)


def descendants(pid):
    """Process ids below one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(path.parent.name))
    return found + [inner for one in found for inner in descendants(one)]
