"""A bundle is read in one way, or refused: nothing of one that was changed, cut, or signed by a stranger is used."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.errors import BundleRefused, InvalidKey, UpdateFailed
from hardware.update import wheel
from hardware.update.bundle import Trust, described, open_bundle, write_bundle
from hardware.update.manifest import APPLICATION, BundleManifest, Here, check_fits, is_older, read_manifest
from hardware.update.signing import Signer, create_keys, read_authorities

pytestmark = pytest.mark.fast

NOW = datetime(2026, 11, 28, tzinfo=UTC)
HERE = Here(APPLICATION, "amd64", "3.11", "1.1.0")


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    create_keys(folder, "example", NOW)
    return folder


@pytest.fixture(scope="module")
def trust(keys) -> Trust:
    return Trust(read_authorities(keys / "ca.pem"), NOW)


def signer_of(keys: Path) -> Signer:
    return Signer.read(keys / "signing.key", keys / "signing.pem")


def made(folder: Path, keys: Path, **what: object) -> Path:
    paths = []
    for name, content in (("a-1-py3-none-any.whl", b"first" * 100), ("b-1-py3-none-any.whl", b"second")):
        path = folder / name
        path.write_bytes(content)
        paths.append(path)
    files = tuple(described(path) for path in paths)
    manifest = BundleManifest(**{"version": "1.2.0", "compatible": APPLICATION, "files": files, **what})
    write_bundle(folder / "x.edgetwin", manifest, paths, signer_of(keys))
    return folder / "x.edgetwin"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, keys) -> Path:
    return made(tmp_path_factory.mktemp("bundle"), keys)


def read_whole(path: Path, trust: Trust) -> dict[str, bytes]:
    with open_bundle(path, trust) as opened:
        return {one.name: b"".join(content) for one, content in opened.files()}


def test_what_goes_in_comes_out_and_says_who_signed(bundle, trust):
    assert read_whole(bundle, trust) == {"a-1-py3-none-any.whl": b"first" * 100, "b-1-py3-none-any.whl": b"second"}
    with open_bundle(bundle, trust) as opened:
        assert opened.signer == "CN=example updates"


def test_each_byte_that_is_changed_is_noticed(bundle, trust, tmp_path):
    content = bundle.read_bytes()
    path = tmp_path / "changed.edgetwin"
    for at in range(0, len(content), 7):
        changed = bytearray(content)
        changed[at] ^= 0x20
        path.write_bytes(bytes(changed))
        with pytest.raises(BundleRefused):
            read_whole(path, trust)


@settings(max_examples=60)
@given(cut=st.integers(0, 3000), more=st.binary(max_size=50))
def test_what_is_cut_or_has_something_after_it_is_refused(bundle, trust, tmp_path_factory, cut, more):
    content = bundle.read_bytes()
    path = tmp_path_factory.getbasetemp() / "cut.edgetwin"
    path.write_bytes(content[: min(cut, len(content))] + more)
    if path.read_bytes() != content:
        with pytest.raises(BundleRefused):
            read_whole(path, trust)


@given(content=st.binary(max_size=400))
@settings(max_examples=60)
def test_garbage_is_refused(trust, tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "garbage.edgetwin"
    for head in (b"", b"edgetwin-bundle-1 ", b"edgetwin-bundle-1 10 10\n"):
        path.write_bytes(head + content)
        with pytest.raises(BundleRefused):
            read_whole(path, trust)


def test_sizes_are_bounded_before_anything_is_read(trust, tmp_path):
    path = tmp_path / "large.edgetwin"
    path.write_bytes(b"edgetwin-bundle-1 999999 5\n")
    with pytest.raises(BundleRefused, match="too large"):
        read_whole(path, trust)
    path.write_bytes(b"edgetwin-bundle-1 99999999999999999999 5\n")
    with pytest.raises(BundleRefused, match="no bundle"):
        read_whole(path, trust)


def test_a_stranger_a_ca_itself_and_a_certificate_for_something_else_may_not_sign(bundle, keys, trust, tmp_path):
    create_keys(tmp_path / "other", "stranger", NOW)
    with pytest.raises(BundleRefused, match="no CA that is known here"):
        read_whole(bundle, Trust(read_authorities(tmp_path / "other/ca.pem"), NOW))
    by_ca = made_by(tmp_path, Signer.read(keys / "ca.key", keys / "ca.pem"))
    with pytest.raises(BundleRefused, match=r"not signed|not for updates"):
        read_whole(by_ca, trust)
    right = signer_of(keys)
    mixed = Signer((tmp_path / "other/signing.key").read_text(), right.certificate)
    with pytest.raises(BundleRefused, match="not of its content"):
        read_whole(made_by(tmp_path, mixed), trust)


def made_by(folder: Path, signer: Signer) -> Path:
    path = folder / "a-1-py3-none-any.whl"
    path.write_bytes(b"x")
    manifest = BundleManifest(version="1.2.0", compatible=APPLICATION, files=(described(path),))
    write_bundle(folder / "by.edgetwin", manifest, [path], signer)
    return folder / "by.edgetwin"


def test_a_certificate_counts_until_it_is_over_and_on_a_gateway_that_wakes_up_in_1970(bundle, trust):
    assert read_whole(bundle, Trust(trust.authorities, datetime(1970, 1, 1, tzinfo=UTC)))
    with pytest.raises(BundleRefused, match="is over"):
        read_whole(bundle, Trust(trust.authorities, NOW + timedelta(days=365 * 16)))


def test_keys_are_never_replaced_and_are_for_their_owner_alone(keys):
    with pytest.raises(InvalidKey, match="there already"):
        create_keys(keys, "again", NOW)
    assert [(keys / name).stat().st_mode & 0o777 for name in ("ca.key", "signing.key")] == [0o600, 0o600]
    with pytest.raises(InvalidKey, match="is not of the key"):
        Signer.read(keys / "ca.key", keys / "signing.pem")
    with pytest.raises(InvalidKey, match="no CA for updates"):
        read_authorities(keys / "none.pem")


@pytest.mark.parametrize("name", ["../a.whl", "/a.whl", "a/b.whl", ".a.whl", "a", "a\\b.whl", "a.whl\n", ""])
def test_a_name_that_leads_anywhere_is_no_name(name):
    content = BundleManifest(version="1.2.0", compatible=APPLICATION).model_dump(mode="json")
    content["files"] = [{"name": name, "size": 1, "sha256": "a" * 64}]
    import json

    with pytest.raises(BundleRefused, match="manifest"):
        read_manifest(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ({"compatible": "raspberry-pi-4"}, "it is for raspberry-pi-4"),
        ({"arch": "arm64"}, "it is for arm64"),
        ({"python": "3.13"}, "Python 3.13"),
        ({"version": "1.0.9"}, "older than 1.1.0"),
        ({"version": "1.1.0rc1"}, "older than 1.1.0"),
        ({"minimum": "1.1.1"}, "replaces 1.1.1 or newer"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_reason(what, why):
    manifest = BundleManifest(**{"version": "1.2.0", "compatible": APPLICATION, **what})
    with pytest.raises(BundleRefused, match=why):
        check_fits(manifest, HERE)


def test_what_fits_is_taken_and_an_older_one_if_it_is_named():
    check_fits(BundleManifest(version="1.2.0", compatible=APPLICATION, arch="amd64", python="3.11"), HERE)
    check_fits(BundleManifest(version="1.1.0", compatible=APPLICATION), HERE)
    older = BundleManifest(version="1.0.9", compatible=APPLICATION)
    check_fits(older, HERE, older="1.0.9")
    with pytest.raises(BundleRefused, match="older"):
        check_fits(older, HERE, older="1.0.8")


NUMBERS = st.lists(st.integers(0, 30), min_size=3, max_size=3)


@given(NUMBERS, NUMBERS)
def test_releases_have_the_order_of_their_numbers(a, b):
    one, other = (".".join(map(str, numbers)) for numbers in (a, b))
    assert is_older(one, other) is (a < b)
    assert is_older(f"{one}rc1", one)
    assert is_older("", one)


def zipped(*names: str, link: str = "") -> io.BytesIO:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name == link else 0o100644) << 16
            archive.writestr(info, b"content")
    held.seek(0)
    return held


@pytest.mark.parametrize("name", ["../x.py", "/etc/x", "a/../../x", "a\\..\\x"])
def test_a_wheel_writes_nothing_outside_its_folder(tmp_path, name):
    site = tmp_path / "deep/site"
    site.mkdir(parents=True)
    with pytest.raises(BundleRefused, match="leads out"):
        wheel.lay_out(zipped(name), "a.whl", site, 1000)
    with pytest.raises(BundleRefused, match="leads out"):
        wheel.lay_out(zipped("link", link="link"), "a.whl", site, 1000)
    assert list(tmp_path.rglob("*x*")) == []


def test_a_wheel_is_laid_out_where_python_looks_and_may_not_be_larger_than_it_says(tmp_path):
    names = ("a/__init__.py", "a-1.data/purelib/b.py", "a-1.data/platlib/c.so", "a-1.data/scripts/run")
    assert wheel.lay_out(zipped(*names), "a.whl", tmp_path, 1000) == 28
    assert {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*.*")} == {"a/__init__.py", "b.py", "c.so"}
    with pytest.raises(BundleRefused, match="more than its bundle says"):
        wheel.lay_out(zipped(*names), "a.whl", tmp_path, 27)
    with pytest.raises(BundleRefused, match="no wheel"):
        wheel.lay_out(io.BytesIO(b"PK\3\4 not really"), "a.whl", tmp_path, 27)


def test_a_disk_that_is_full_leaves_the_bundle_that_was_there(keys, bundle, tmp_path):
    with pytest.raises(UpdateFailed, match="cannot be written"):
        write_bundle(tmp_path / "no/folder.edgetwin", BundleManifest(version="1", compatible="x"), [], signer_of(keys))
