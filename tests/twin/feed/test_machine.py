"""The eight rules under everything that can happen: a short search in each test run, a long one under torture."""

import logging

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.twin.feed.machine import FeedMachine, HealingMachine

MACHINES = pytest.mark.parametrize("machine", [FeedMachine, HealingMachine], ids=["digests off", "digests on"])


def search(machine, examples, steps):
    logging.disable(logging.ERROR)  # refusals of a dying disk are the point here
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        logging.disable(logging.NOTSET)


@MACHINES
def test_two_sites_agree_whatever_happens(machine):
    search(machine, 80, 30)


@pytest.mark.torture
@pytest.mark.timeout(3600)
@MACHINES
def test_two_sites_agree_whatever_happens_for_long(machine):
    search(machine, 3000, 60)
