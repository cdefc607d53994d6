"""One image and its later releases, for all that is tried with them."""

import pytest

from hardware.boards import board
from hardware.image.build import Workshop, build
from hardware.image.cli import TREE
from tests.vm.releases import HUB, UPDATER, bundle_of, damaged, disk_of, signer
from tests.vm.updates import BOARD, EPOCH_S, Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("update")
    who = signer(folder)
    shop = Workshop(TREE, TREE / ".cache/images", folder, EPOCH_S)
    image = build(board(BOARD), "1.0.0", shop, lambda *_: None, who.certificate.read_text()).image
    good = bundle_of(image, "2.0.0", who, folder / "good.raucb")
    foreign = bundle_of(image, "2.1.0", signer(folder, "somebody"), folder / "foreign.raucb")
    broken = bundle_of(image, "3.0.0", who, folder / "broken.raucb", broken=HUB)
    mute = bundle_of(image, "4.0.0", who, folder / "mute.raucb", broken=UPDATER)
    bad = damaged(good, folder / "damaged.raucb")
    return Site(image, disk_of([good, foreign, broken, mute, bad], folder / "bundles.img"), folder)
