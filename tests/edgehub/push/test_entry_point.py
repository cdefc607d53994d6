"""A push that somebody else has written and installed, by the entry point, in the real process."""

import shutil
from pathlib import Path

from tests.edgehub.push.site import push, site, until, view_of

ROOT = Path(__file__).resolve().parents[3]


async def test_the_example_of_the_docs_is_installed_and_delivers(tmp_path, monkeypatch):
    packages = tmp_path / "packages"
    about = packages / "file_push-1.0.dist-info"
    about.mkdir(parents=True)
    shutil.copy(ROOT / "docs/examples/file_push.py", packages)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: file-push\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[edgetwin.pushes]\nfile = file_push:PUSH\n")
    monkeypatch.setenv("PYTHONPATH", f"{packages}:{ROOT}")
    out = tmp_path / "there" / "out.txt"
    async with site(tmp_path / "s") as gateway:
        await gateway.follow(view_of(push("file", f"{{path: {out}}}")))
        await gateway.report(*map(float, range(60)))
        await until(lambda: gateway.told().get("state") == "waiting", gateway.told)
        assert "No such file" in str(gateway.told()["why"])
        out.parent.mkdir()
        await until(lambda: out.exists() and len(out.read_text().splitlines()) == 60)
        await gateway.follow(view_of(push("fiel", "{}")))
        await until(lambda: gateway.told().get("type") == "fiel", gateway.told)
        await gateway.report(1.0)
        await until(lambda: "there are file, http" in str(gateway.told().get("why")), gateway.told)
        await gateway.follow(view_of(push("file", "{way: 3}")))
        await until(lambda: "path: Field required" in str(gateway.told().get("why")), gateway.told)
        assert gateway.told()["state"] == "broken"
    assert [line.split()[3] for line in out.read_text().splitlines()] == [f"{number}.0" for number in range(60)]
