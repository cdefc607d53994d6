"""Every mutant still names a text of its module, so that `make mutants` never breaks nothing."""

import importlib.util
from pathlib import Path

import pytest

from tests.mutants.run import ALL

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_the_text_of_a_mutant_is_in_its_module_once(mutant):
    source = Path(importlib.util.find_spec(mutant.module).origin).read_text()
    assert source.count(mutant.was) == 1
