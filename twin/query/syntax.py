"""Text -> sqlglot's tree, with every word, node and limit that is not ours refused with its position.

What passes is a tree of known nodes with known parts only, so nothing that the parser understands and the language
does not can be overlooked.
"""

from __future__ import annotations

from typing import Final, NoReturn

from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.parser import Parser
from sqlglot.tokenizer_core import Token, TokenType
from sqlglot.tokens import Tokenizer

from twin.errors import InvalidQuery

MAX_BYTES: Final = 10_000
MAX_WORDS: Final = 1_000
MAX_NESTING: Final = 20

_REMEDY: Final = (
    "The language is SELECT ... FROM twins WHERE ... GROUP BY ... ORDER BY ... LIMIT ...; see docs/query.md."
)
_BINARY: Final = frozenset({"this", "expression"})
_NODES: Final[dict[type[exp.Expr], frozenset[str]]] = {
    exp.Select: frozenset({"expressions", "from_", "where", "group", "order", "limit"}),
    exp.From: frozenset({"this"}),
    exp.Table: frozenset({"this"}),
    exp.Where: frozenset({"this"}),
    exp.Group: frozenset({"expressions"}),
    exp.Order: frozenset({"expressions"}),
    exp.Ordered: frozenset({"this", "desc", "nulls_first"}),
    exp.Limit: frozenset({"expression"}),
    exp.Alias: frozenset({"this", "alias"}),
    exp.Column: frozenset({"this", "table", "db", "catalog"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.Star: frozenset(),
    exp.Count: frozenset({"this", "big_int"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Boolean: frozenset({"this"}),
    exp.Null: frozenset(),
    exp.Neg: frozenset({"this"}),
    exp.Paren: frozenset({"this"}),
    exp.Not: frozenset({"this"}),
    **dict.fromkeys((exp.And, exp.Or, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE), _BINARY),
    exp.Is: _BINARY,
    exp.In: frozenset({"this", "expressions"}),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.Like: frozenset({"this", "expression", "negate"}),
    exp.StartsWith: _BINARY,
    exp.Anonymous: frozenset({"this", "expressions"}),
}
_OPENING: Final = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE})
_CLOSING: Final = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE})
_SIGNS: Final = frozenset({TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE})


class Source:
    """The text of one query, and how to refuse a place in it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def tree(self) -> exp.Select:
        """The query as a tree of known nodes. Raises InvalidQuery."""
        tokens = self._tokens()
        try:
            statements = Parser().parse(tokens, self._text)
        except ParseError as error:
            first = error.errors[0] if error.errors else {}
            word = str(first.get("highlight") or "").strip()
            reason = f"{word[:40]!r} is not expected here" if word else "the query breaks off"
            _refuse(int(first.get("line") or 1), int(first.get("col") or 1), f"{reason}; {_QUOTING}")
        except RecursionError:
            self.refuse_at(0, "it is nested too deeply")
        if len(statements) != 1 or type(statements[0]) is not exp.Select:
            self.refuse_at(0, "a query is one SELECT")
        select = statements[0]
        self._check(select)
        return select

    def refuse(self, node: exp.Expr | None, reason: str) -> NoReturn:
        """Raise InvalidQuery with the place of a node, or of the nearest around it that has one."""
        at = None
        while node is not None and (at := _position(node)) is None:
            node = node.parent
        self.refuse_at(at or 0, reason)

    def refuse_at(self, at: int, reason: str) -> NoReturn:
        """Raise InvalidQuery with the line and column of a character."""
        before = self._text[:at]
        _refuse(before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1, reason)

    def _tokens(self) -> list[Token]:
        text = self._text
        strange = next(
            (at for at, one in enumerate(text[:MAX_BYTES]) if one == "\0" or "\ud800" <= one <= "\udfff"), None
        )
        if strange is not None:
            self.refuse_at(strange, "this character cannot be in a query")
        if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
            self.refuse_at(0, f"it has more than {MAX_BYTES} bytes")
        try:
            tokens = Tokenizer().tokenize(text)
        except TokenError:
            self.refuse_at(max(len(text) - 1, 0), "a quote or a comment is not closed")
        if not tokens or tokens[0].token_type is not TokenType.SELECT:
            self.refuse_at(tokens[0].start if tokens else 0, "a query begins with SELECT")
        if len(tokens) > MAX_WORDS:
            self.refuse_at(tokens[MAX_WORDS].start, f"it has more than {MAX_WORDS} words")
        self._check_tokens(tokens)
        return tokens

    def _check_tokens(self, tokens: list[Token]) -> None:
        """What the tree does not show: comments, semicolons; and nesting, before the parser follows it."""
        around: list[int] = []
        signs = 0
        for token in tokens:
            kind = token.token_type
            if token.comments:
                self.refuse_at(token.start, "there is a comment here; the language has none")
            if kind is TokenType.SEMICOLON:
                self.refuse_at(token.start, "a query is one statement without a semicolon")
            if kind in _OPENING:
                around.append(signs + 1)
                signs = 0
            elif kind in _CLOSING:
                signs = 0
                del around[-1:]
            else:
                signs = signs + 1 if kind in _SIGNS else 0
            if sum(around) + signs > MAX_NESTING:
                self.refuse_at(token.start, f"more than {MAX_NESTING} parentheses and NOTs are open here")

    def _check(self, select: exp.Select) -> None:
        for node in select.walk():
            known = _NODES.get(type(node))
            if known is None:
                self.refuse(node, _unknown(node))
            for name, value in node.args.items():
                if name in known or value is None or value is False or value == []:
                    continue
                found = value[0] if isinstance(value, list) else value
                place = found if isinstance(found, exp.Expr) else node
                self.refuse(place, f"{name.strip('_').replace('_', ' ').upper()} is not part of the language")
            if "all" in node.args and isinstance(node, exp.Group):  # False there is GROUP BY DISTINCT
                self.refuse(node, "GROUP BY takes fields only")


def word(node: exp.Expr) -> str:
    """What a node is, for a message."""
    if isinstance(node, exp.Anonymous):
        return f"the function {str(node.this)[:40]}"
    if isinstance(node, exp.Func) and not isinstance(node, exp.Connector):
        return f"the function {node.sql_name()}"
    return _WORDS.get(type(node), type(node).__name__.upper())


_WORDS: Final[dict[type[exp.Expr], str]] = {
    exp.Column: "a field",
    exp.Literal: "a literal",
    exp.Boolean: "true or false",
    exp.Paren: "parentheses",
}
_QUOTING: Final = "names with other signs than letters, digits and _ stand in double quotes, text in single ones"


def _unknown(node: exp.Expr) -> str:
    if isinstance(node, exp.Sub):
        return 'there is no arithmetic; a name with - in it stands in double quotes, such as reported."fan-speed"'
    if isinstance(node, exp.Dot):
        return "a field has at most three names, such as reported.level.quality"
    return f"{word(node)} is not part of the language"


def _position(node: exp.Expr) -> int | None:
    """Where the first word of a node stands that sqlglot has a position for."""
    return min((one.meta["start"] for one in node.walk() if "start" in one.meta), default=None)


def _refuse(line: int, column: int, reason: str) -> NoReturn:
    message = f"query, line {line}, column {column}: {reason}"
    raise InvalidQuery(message, remedy=_REMEDY)
