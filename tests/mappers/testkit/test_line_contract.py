"""A driver that keeps every promise passes the whole contract, none of it exempt."""

from mappers.testkit.contract import Contract
from tests.mappers.testkit.line_peer import LineAdapter


class TestContract(Contract):
    adapter = LineAdapter()
