"""Images that somebody answers for: only what was signed, by whom the keyring allows to, reaches a disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hardware.errors import InvalidImage, InvalidKey
from hardware.flash.blockmap import map_path, scan
from hardware.flash.work import Order, check_signed, mapped, opened
from hardware.image.manifest import manifest_path
from hardware.image.signature import sign, signature_path
from hardware.update.signing import Signer, create_keys
from tests.hardware.test_flash_command import command
from tests.hardware.test_run import made

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    create_keys(folder, "plant", NOW)
    create_keys(folder / "other", "other", NOW)
    return folder


@pytest.fixture
def image(tmp_path: Path, keys: Path) -> Path:
    made(tmp_path)
    path = tmp_path / "edgetwin-qemu-x86-64.img"
    sign(path, Signer.read(keys / "signing.key", keys / "signing.pem"))
    return path


def flashed(image: Path, keyring: Path, out: Path) -> None:
    order = Order(image, out, keyring=keyring, overwrite=True)
    with opened(order, mapped(image, lambda _: None), lambda: ()) as work:
        work.write(lambda _: None)


def test_a_signed_image_is_flashed(image: Path, keys: Path, tmp_path: Path) -> None:
    out = tmp_path / "disk"
    flashed(image, keys / "ca.pem", out)
    assert out.read_bytes() == image.read_bytes()
    assert "plant updates" in check_signed(image, keys / "ca.pem", NOW)
    map_path(image).unlink()
    flashed(image, keys / "ca.pem", out)


def resigned(image: Path, keys: Path) -> None:
    sign(image, Signer.read(keys / "other/signing.key", keys / "other/signing.pem"))


def another_content(image: Path, _keys: Path) -> None:
    image.write_bytes(b"y" * 4096)
    map_path(image).write_text(scan(image).model_dump_json())


@pytest.mark.parametrize(
    ("mend", "why"),
    [
        (lambda image, keys: signature_path(image).unlink(), "is not signed"),
        (lambda image, keys: signature_path(image).write_text("{}"), "not signed"),
        (lambda image, keys: signature_path(image).write_bytes(b"\xff" * 100_000), "not signed"),
        (resigned, "whom no CA that is known here allows to"),
        (lambda image, keys: manifest_path(image).write_text(manifest_path(image).read_text() + " "), "was changed"),
        (another_content, "is of another image"),
        (lambda image, keys: (another_content(image, keys), map_path(image).unlink()), "is of another image"),
        (lambda image, keys: image.write_bytes(b"y" * 4096), "not what its block map says"),
    ],
)
def test_any_other_image_is_refused(image: Path, keys: Path, tmp_path: Path, mend, why: str) -> None:
    mend(image, keys)
    with pytest.raises(InvalidImage, match=why):
        flashed(image, keys / "ca.pem", tmp_path / "disk")


def test_a_certificate_that_is_over_signs_nothing(image: Path, keys: Path) -> None:
    with pytest.raises(InvalidImage, match="is over"):
        check_signed(image, keys / "ca.pem", NOW + timedelta(days=365 * 40))


def test_the_signature_of_a_bundle_is_none_of_an_image(image: Path, keys: Path) -> None:
    signer = Signer.read(keys / "signing.key", keys / "signing.pem")
    signature_path(image).write_text(signer.sign(manifest_path(image).read_bytes()).model_dump_json())
    with pytest.raises(InvalidImage, match="was changed"):
        check_signed(image, keys / "ca.pem", NOW)


def test_a_keyring_that_is_none_is_told(image: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidKey, match="is not there"):
        check_signed(image, tmp_path / "none.pem", NOW)


def test_what_is_refused_is_told_in_a_line_and_nothing_is_written(image: Path, keys: Path, tmp_path: Path) -> None:
    done = command("hardware", "flash", image, "--to", tmp_path / "disk", "--keyring", keys / "other/ca.pem")
    assert done.returncode == 4
    assert "is not taken" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "disk").exists()
