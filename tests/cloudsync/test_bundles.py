"""Bundles as files: what is taken, under which name, and what is refused."""

import fcntl
import hashlib
import json

import pytest

from cloudsync.bundle_cli import chosen
from cloudsync.bundles import BadBundle, BundleFolder
from cloudsync.store.rollouts import Bundle
from twin.errors import Refused

pytestmark = pytest.mark.fast


def program(version="1.4.0", **more):
    manifest = json.dumps({"format": 1, "version": version, "compatible": "edgetwin", **more}).encode()
    return b"edgetwin-bundle-1 %d 2\n%s{}wheels" % (len(manifest), manifest)


@pytest.fixture
def folder(tmp_path):
    return BundleFolder(tmp_path / "bundles")


def test_a_bundle_of_the_program_says_its_version_and_is_kept_by_its_hash(folder, tmp_path):
    file = tmp_path / "edgetwin-1.4.0.edgetwin"
    file.write_bytes(program())
    told = []
    bundle = folder.add(file, told=lambda done, of: told.append((done, of)))
    sha256 = hashlib.sha256(program()).hexdigest()
    assert bundle == Bundle(sha256, len(program()), "1.4.0", "edgetwin", file.name)
    assert folder.path(sha256).read_bytes() == program()
    assert folder.path(sha256).stat().st_mode & 0o777 == 0o600
    assert told[-1] == (len(program()), len(program()))
    assert folder.add(file) == bundle
    folder.remove(sha256)
    folder.remove(sha256)
    assert not folder.path(sha256).exists()


def test_a_bundle_of_an_image_needs_its_version_named(folder, tmp_path):
    file = tmp_path / "image.raucb"
    file.write_bytes(b"hsqs" + b"\n" * 2000)
    assert folder.add(file, version="2026.11").version == "2026.11"
    with pytest.raises(BadBundle, match="name its version"):
        folder.add(file)
    with pytest.raises(BadBundle, match="is no version"):
        folder.add(file, version="../2")


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        (b"", {}, "has 0 bytes"),
        (b"PK\x03\x04 a zip", {}, "is no bundle"),
        (b"edgetwin-bundle-1 x 2\n{}", {}, "manifest cannot be read"),
        (b"edgetwin-bundle-1 9999999999 2\n[]", {}, "manifest cannot be read"),
        (b"edgetwin-bundle-1 ", {}, "manifest cannot be read"),
        (program(version="../1"), {}, "manifest cannot be read"),
        (program(), {"version": "1.5.0"}, "is a bundle of 1.4.0, not of 1.5.0"),
        (program(), {"sha256": "ab" * 32}, "has the sha256"),
    ],
)
def test_what_is_no_bundle_or_another_is_refused_and_leaves_nothing(folder, tmp_path, content, words, said):
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(BadBundle, match=said):
        folder.add(file, **words)
    assert list(tmp_path.glob("bundles/*")) == []
    assert list(tmp_path.glob("bundles/.*")) == []


def test_a_bundle_is_named_by_version_or_hash_and_never_guessed():
    one, two, three = Bundle("ab" * 32, 9, "1.4"), Bundle("ac" * 32, 9, "1.5"), Bundle("ad" * 32, 9, "1.5")
    assert chosen([one, two], "1.4") == one
    assert chosen([one, two], "ac") == two
    with pytest.raises(Refused, match=r"there is no bundle '1\.6'"):
        chosen([one, two], "1.6")
    with pytest.raises(Refused, match="there is no bundle ''"):
        chosen([one], "")
    for named in ("1.5", "a"):
        with pytest.raises(Refused, match=r"names \d bundles"):
            chosen([one, two, three], named)


def test_what_an_addition_left_that_was_killed_goes_with_the_next_and_one_under_way_stays(folder, tmp_path):
    source = tmp_path / "image.raucb"
    source.write_bytes(b"hsqs" + b"x" * 100)
    folder.add(source, version="1.0")
    (place,) = {folder.path("a" * 64).parent}
    (place / ".adding.dead").write_bytes(b"half")
    busy = place / ".adding.busy"
    with busy.open("wb") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        folder.add(source, version="1.0")
        assert [one.name for one in place.glob(".adding.*")] == [busy.name]
    folder.add(source, version="1.0")
    assert not list(place.glob(".adding.*"))
