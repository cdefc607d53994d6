"""The lines of the operations page: a backup of a gateway that runs, a disk that is lost, and what is restored."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"

pytestmark = pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs sqlite3 (Debian package sqlite3)")


def lines_of(heading):
    part = re.search(rf"^## {heading}$.*?^```sh$\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert part is not None
    return part[1]


async def test_what_was_there_at_the_backup_is_there_after_the_restore(hub, plant, tmp_path):
    def typed(heading):
        line = ["sh", "-euc", lines_of(heading)]
        subprocess.run(line, cwd=tmp_path, env=hub.environment, check=True, timeout=30)

    async with hub.client() as client:
        await client.set("free", {"count": 5})
        typed("Backup")
        await client.set("free", {"count": 6})
    hub.kill()
    shutil.rmtree(hub.folder.path)
    typed("Restore")
    hub.start()
    async with hub.client() as client:
        assert (await client.get("free")).desired["count"].value == 5
        assert (await client.status()).alarms == []
        async with client.watch("device/default/v1") as events:
            async for event in events:
                if event.body and "flow" in event.body.reported:
                    break
