"""Each file in bad/ is refused with exactly the text beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin.errors import InvalidDocuments, error_from_wire
from twin.manifest.problems import InvalidManifest
from twin.manifest.read import read_documents
from twin.manifest.yaml import MAX_FILE_BYTES, MAX_PROBLEMS, Source

pytestmark = pytest.mark.fast

_BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))


@pytest.mark.parametrize("path", _BAD, ids=lambda path: path.stem)
def test_a_bad_file_is_refused_with_the_recorded_text(path: Path) -> None:
    with pytest.raises(InvalidManifest) as caught:
        read_documents([Source(path.name, path.read_bytes())])
    assert f"{caught.value}\n" == path.with_suffix(".txt").read_text()
    assert all(problem.text and problem.remedy and problem.line for problem in caught.value.problems)


def test_the_problems_of_all_files_come_together() -> None:
    sources = [Source(path.name, path.read_bytes()) for path in _BAD]
    with pytest.raises(InvalidDocuments) as caught:
        read_documents(sources)
    assert all(path.name in str(caught.value) for path in _BAD)


def test_a_file_over_the_cap_is_not_parsed() -> None:
    with pytest.raises(InvalidManifest, match="more than 4194304"):
        read_documents([Source("big.yaml", b"#" * (MAX_FILE_BYTES + 1))])


def test_a_file_with_endless_problems_is_left_after_the_first_hundred() -> None:
    with pytest.raises(InvalidManifest) as caught:
        read_documents([Source("many.yaml", b"a: 1\n" * 1000)])
    assert len([one for one in caught.value.problems if "twice" in one.text]) == MAX_PROBLEMS


def test_a_name_in_two_files_is_refused_at_the_second() -> None:
    text = b"apiVersion: edgetwin.dev/v1\nkind: Connection\nmetadata: {name: a}\nspec: {mapper: modbus}\n"
    with pytest.raises(InvalidManifest, match=r"two.yaml:3: metadata.name: .* is already in one.yaml:1"):
        read_documents([Source("one.yaml", text), Source("two.yaml", text)])


def test_the_error_crosses_the_wire() -> None:
    error = error_from_wire("invalid_documents", "text", "remedy")
    assert isinstance(error, InvalidDocuments)
