"""The tutorial of mappers is typed from top to bottom; each command is a new program, as what is installed changes."""

from __future__ import annotations

import os
import sys

from tests.docs.reader import Reader

EDGETWIN = '#!/bin/sh\nexec {python} -c "from edgehub.cli import main; main()" "$@"\n'
PYTHON = '#!/bin/sh\nexec {python} "$@"\n'


def test_a_mapper_is_written_as_its_page_shows(pages, root, tmp_path, free_port):
    programs, site, port = tmp_path / "programs", tmp_path / "site", str(free_port())
    programs.mkdir()
    for name, text in (("edgetwin", EDGETWIN), ("python", PYTHON)):
        (programs / name).write_text(text.format(python=sys.executable))
        (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": f"{site}:{root}",
        "EDGETWIN_BROKER_PORT": str(free_port()),
        "EDGETWIN_GATEWAY_NAME": "gw-1",
        "EDGETWIN_MESH_ENABLED": "off",  # it would take addresses of the machine's
    }
    offline = "--quiet --no-index --no-deps --no-build-isolation"
    here = {
        "pip install -e .": f"pip install {offline} --target {site} .",
        "pip wheel": "pip wheel --quiet --no-index --no-build-isolation",
        "192.0.2.10/127.0.0.1": f"192.0.2.10, port: 5025/127.0.0.1, port: {port}",
        "pump.py 5025": f"pump.py {port}",
    }
    Reader(tmp_path / "state", tmp_path, environment, here, in_a_shell=True).read(pages["docs/mapper-tutorial.md"])
