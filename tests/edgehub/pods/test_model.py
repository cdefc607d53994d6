"""The names of pods."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgehub.pods.model import PodId

pytestmark = pytest.mark.fast


@given(st.text())
@example("../../etc")
@example("images")
@example("")
@example("a" * 65)
def test_whatever_the_uid_says_its_folder_is_one_name_of_its_own(uid: str) -> None:
    folder = PodId("default", "web", uid).folder
    assert folder.isascii()
    assert folder.replace("-", "").isalnum()
    assert folder != "images"
    assert len(folder) <= 64
    assert folder == PodId("other", "pod", uid).folder


def test_a_uid_that_is_a_name_stays_as_it_is() -> None:
    assert PodId("default", "web", "b7ad66cd-5d8a-4207").folder == "b7ad66cd-5d8a-4207"
