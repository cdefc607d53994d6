"""Board profiles are data; a wrong one is refused with all that is wrong."""

from __future__ import annotations

import pytest
import yaml

from hardware.board import BoardProfile, PartitionRole, Proven
from hardware.boards import board, boards, read_board
from hardware.errors import InvalidBoard, UnknownBoard

pytestmark = pytest.mark.fast
GOOD = board("x86-64").model_dump(mode="json", by_alias=True)


def written(**changes: object) -> str:
    made = {**GOOD, **changes}
    made["partitions"] = [
        {**one, "size": f"{one['size'] // 2**20}MiB"} if isinstance(one.get("size"), int) else one
        for one in made["partitions"]
    ]
    return yaml.safe_dump(made)


def test_every_board_that_was_promised_is_there() -> None:
    names = {one.name for one in boards()}
    assert names >= {
        *("x86-64", "qemu-x86-64", "qemu-arm64", "raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5"),
        *("raspberry-pi-cm4", "revolution-pi-connect-4", "beaglebone-black", "industrial-x86", "qemu-x86-64-io"),
    }


def test_a_file_is_named_as_its_board_and_no_physical_board_is_claimed_to_work() -> None:
    for one in boards():
        assert board(one.name) == one
        assert one.proven in (Proven.UNTESTED, *((Proven.VM,) if one.name.startswith("qemu-") else ()))


def test_a_profile_of_the_users_own_is_read_from_its_file(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(written(name="mine", watchdog={"maxS": 60}))
    assert board(str(path)).watchdog.max_s == 60
    assert board(str(path)).update_string == "mine"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, "colour"),
        ({"proven": "surely"}, "proven"),
        ({"partitions": []}, "two of the role root"),
        ({"partitions": [*GOOD["partitions"][:3], {"name": "data", "role": "data", "size": "many"}]}, "is no size"),
        ({"partitions": [GOOD["partitions"][3], *GOOD["partitions"][:3]]}, "data comes last"),
        ({"serial": [{"name": "a", "role": "rs485", "match": {"KERNEL": "ttyS0"}}]}, "who switches the direction"),
        ({"serial": [{"name": "a", "role": "uart", "match": {}}]}, "match"),
        ({"serial": [{"name": "a", "role": "uart", "match": {"KERNEL": "ttyS0"}}] * 2}, "there twice"),
        ({"watchdog": {"maxS": 0}}, "maxS"),
        ({"kernelArguments": 5}, "kernelArguments"),
    ],
)
def test_a_wrong_profile_is_refused_with_its_path(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidBoard, match=said):
        read_board(written(**changes), "mine.yaml")


def test_what_is_no_yaml_or_no_map_is_refused() -> None:
    for text in ("{", "- 1", "", "a: [", "\t"):
        with pytest.raises(InvalidBoard, match="mine"):
            read_board(text, "mine.yaml")


def test_an_unknown_board_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownBoard, match="raspberry-pi-4"):
        board("toaster")
    with pytest.raises(UnknownBoard, match="cannot be read"):
        board("no/such/file.yaml")


def test_both_root_slots_are_of_one_size() -> None:
    for one in boards():
        sizes = {part.size_bytes for part in one.partitions if part.role is PartitionRole.ROOT}
        assert len(sizes) == 1


def test_a_profile_survives_its_own_json() -> None:
    for one in boards():
        made = one.model_dump(mode="json", by_alias=True)
        made["partitions"] = [{**part, "size": f"{part['size'] // 2**20}MiB"} for part in made["partitions"]]
        assert BoardProfile.model_validate(made) == one
