"""YAML or JSON bytes to plain values in which each key knows its line.

bytes ─> text ─> libyaml events ─> values + places
         size, UTF-8, control     duplicate and odd keys, tags, aliases, depth, numbers

The values are built from the event stream and not from PyYAML's nodes, because its composer in C recurses without
bound and forgets duplicate keys.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import yaml

from twin.errors import shown
from twin.manifest.problems import KeyPath, Problem, path_text
from twin.manifest.scalars import NotFinite, resolve
from twin.model import Value

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_NODES: Final = 200_000
MAX_DEPTH: Final = 64
MAX_PROBLEMS: Final = 100

_SHARED_CHARS: Final = 32

_NOT_TEXT: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATES: Final = re.compile(r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_STRING_TAGS: Final = ("!", "tag:yaml.org,2002:str")
_SYNTAX_REMEDIES: Final = (
    ("mapping values are not allowed", "Put a value that holds ': ' in quotes, and indent the keys of one map alike."),
    ("could not find expected ':'", "Write 'key: value', with a space after the colon."),
    ("did not find expected key", "Indent the keys of one map alike."),
    ("did not find expected ',' or", "Close the bracket, or put a comma between the items."),
    ("cannot start any token", "Put a value that begins with @, ` or % in quotes."),
    ("found unexpected end of stream", "Close the quote that is open here."),
)


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes to read, and the file name to blame."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key or list item begins; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Parsed:
    """One document as plain JSON values, with the place of each key path.

    ``moved``: of a document that was written in an older layout, where what is now at a path stood.
    """

    source: str
    value: Value
    places: Mapping[KeyPath, Place] = field(default_factory=dict)
    root: KeyPath = ()
    moved: Mapping[KeyPath, KeyPath] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place | None:
        """The place of the path, or of the nearest key above it; None when no file is behind the document."""
        full = self.root + self._written(path)
        while full and full not in self.places:
            full = full[:-1]
        return self.places.get(full)

    def problem(self, path: KeyPath, text: str, remedy: str = "") -> Problem:
        """State a problem at a key path of this document."""
        place = self.place(path)
        return Problem(
            self.source, place.line if place else 0, path_text(self.root + self._written(path)), text, remedy
        )

    def _written(self, path: KeyPath) -> KeyPath:
        """The path as it was written: the longest beginning that has moved goes back."""
        for end in range(len(path), 0, -1) if self.moved else ():
            if path[:end] in self.moved:
                return self.moved[path[:end]] + path[end:]
        return path


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """The documents of one file, as far as it could be read, and what was wrong with it."""

    documents: tuple[Parsed, ...]
    problems: tuple[Problem, ...]


def parse(source: Source) -> ParsedFile:
    """Read all documents of one file; never raises for what is in it."""
    builder = _Builder(source)
    documents = tuple(builder.documents())
    return ParsedFile(documents, tuple(builder.problems))


def dump(value: Value) -> str:
    """Write a plain value as YAML that ``parse`` reads back as the same value."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Stop(Exception):  # ends the reading of one file; its problem is already noted
    pass


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Value
    nodes: int
    height: int


class _Builder:
    """Builds values from the events of one file and notes every problem on the way."""

    def __init__(self, source: Source) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._lines: list[str] = []
        self._events: Iterator[Any] = iter(())
        self._places: dict[KeyPath, Place] = {}
        self._anchors: dict[str, _Anchored] = {}
        self._nodes = 0
        self._deepest = 0
        self._flows = 0

    def documents(self) -> Iterator[Parsed]:
        """Yield the documents one by one until the end or the first syntax error; empty ones are left out."""
        try:
            text = self._text()
            self._lines = text.splitlines() if "\t" in text else []
            self._events = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    self._places, self._anchors = {}, {}
                    value = self._node(next(self._events), (), 1)
                    if value is not None:
                        yield Parsed(self._source.name, value, self._places)
        except yaml.MarkedYAMLError as error:
            self._note_syntax(error)
        except _Stop:
            return

    def _text(self) -> str:
        content = self._source.content
        if len(content) > MAX_FILE_BYTES:
            self._stop(0, f"the file has {len(content)} bytes, more than {MAX_FILE_BYTES}", "Split it into several.")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self._stop(line, f"byte 0x{content[error.start]:02x} is not UTF-8", "Save the file as UTF-8.")
        odd = _NOT_TEXT.search(text)
        if odd is not None:
            line = text.count("\n", 0, odd.start()) + 1
            name = "a NUL character" if odd[0] == "\0" else f"the control character U+{ord(odd[0]):04X}"
            self._stop(line, f"{name} is not text", "Remove it; the file may be damaged or not a text file.")
        if text.lstrip()[:1] in ("{", "["):  # JSON writes characters beyond U+FFFF as two escapes, YAML does not
            text = _SURROGATES.sub(_joined, text)
        return text

    def _node(self, event: Any, path: KeyPath, depth: int) -> Value:
        line = event.start_mark.line + 1
        self._nodes += 1
        if depth > MAX_DEPTH:
            self._stop(line, f"nested deeper than {MAX_DEPTH} levels", "Flatten it.", path)
        if self._nodes > MAX_NODES:
            self._stop(line, f"more than {MAX_NODES} values in one file", "Split it into several files.", path)
        self._places.setdefault(path, Place(line, event.start_mark.column + 1))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, depth)
        if event.anchor is None:
            return self._value(event, path, depth)
        nodes, deepest, self._deepest = self._nodes, self._deepest, depth
        value = self._value(event, path, depth)
        self._anchors[event.anchor] = _Anchored(value, self._nodes - nodes + 1, self._deepest - depth)
        self._deepest = max(deepest, self._deepest)
        return value

    def _value(self, event: Any, path: KeyPath, depth: int) -> Value:
        self._deepest = max(self._deepest, depth)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if event.tag not in (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._note_tag(event, path)
        self._flows += bool(event.flow_style)
        is_map = isinstance(event, yaml.MappingStartEvent)
        value: Value = self._map(path, depth) if is_map else self._list(path, depth)
        self._flows -= bool(event.flow_style)
        return value

    def _alias(self, event: Any, path: KeyPath, depth: int) -> Value:
        line = event.start_mark.line + 1
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            text = f"the alias *{event.anchor} has no finished anchor &{event.anchor} above it"
            self._stop(line, text, "Write the value out here.", path)
        self._nodes += anchored.nodes
        self._deepest = max(self._deepest, depth + anchored.height)
        if self._nodes > MAX_NODES or depth + anchored.height > MAX_DEPTH:
            text = f"the alias *{event.anchor} unfolds to more than {MAX_NODES} values or {MAX_DEPTH} levels"
            self._stop(line, text, "Write out the few values that are meant.", path)
        return anchored.value

    def _list(self, path: KeyPath, depth: int) -> list[Value]:
        items: list[Value] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, (*path, len(items)), depth + 1))
        return items

    def _map(self, path: KeyPath, depth: int) -> dict[str, Value]:
        pairs: dict[str, Value] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            line = event.start_mark.line + 1
            key = self._key(event, path, depth)
            if key is not None and key in pairs:
                first = self._places[(*path, key)].line
                self._note(line, f"the key is given twice, first in line {first}", "Keep one of the two.", (*path, key))
                key = None
            if key is None:
                self._skip(next(self._events), path, depth)
                continue
            self._places[(*path, key)] = Place(line, event.start_mark.column + 1)
            pairs[key] = self._node(next(self._events), (*path, key), depth + 1)
        return pairs

    def _key(self, event: Any, path: KeyPath, depth: int) -> str | None:
        """The key as a string, or None after noting why it is not one."""
        line = event.start_mark.line + 1
        if not isinstance(event, yaml.ScalarEvent):
            self._skip(event, path, depth)
            self._note(line, "a list, map or alias stands where a key should", "Write a plain name as the key.", path)
            return None
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(event.value, 1, 0)
        if event.implicit[0] and event.value == "<<":
            self._note(line, "merge keys (<<) are not read", "Write the keys out.", path)
            return None
        key = self._scalar(event, path)
        if isinstance(key, str):
            return key
        self._note(line, f"the key {shown(event.value)} is not a string", f'Quote it: "{event.value}".', path)
        return None

    def _skip(self, event: Any, path: KeyPath, depth: int) -> None:
        """Read a node whose value and places are of no use, for the problems in it."""
        kept, self._places = self._places, {}
        self._node(event, path, depth + 1)
        self._places = kept

    def _scalar(self, event: Any, path: KeyPath) -> Value:
        line = event.start_mark.line + 1
        if event.tag is not None and event.tag not in _STRING_TAGS:
            self._note_tag(event, path)
        if "\0" in event.value:
            self._note(line, "a NUL character stands in the string", "Remove it.", path)
        if not event.implicit[0] or event.tag is not None:
            return _shared(str(event.value))
        if self._lines and not self._flows and self._indented_by_tab(event.start_mark):
            self._note_tab(line, path)
        try:
            value = resolve(event.value)
            return _shared(value) if isinstance(value, str) else value
        except NotFinite:
            text = f"{shown(event.value, 40)} is not a finite number"
            self._note(line, text, "Write a number up to 1.7e308, or leave the key out.", path)
            return 0

    def _indented_by_tab(self, mark: Any) -> bool:
        before = self._lines[mark.line][: mark.column] if mark.line < len(self._lines) else ""
        return "\t" in before and not before.strip()

    def _note_tab(self, line: int, path: KeyPath = ()) -> None:
        self._note(line, "a tab stands in the indentation", "Indent with spaces.", path)

    def _note_tag(self, event: Any, path: KeyPath) -> None:
        text = f"the tag {shown(event.tag)} is not read"
        self._note(event.start_mark.line + 1, text, "Leave the tag out; quote a value to make it a string.", path)

    def _note_syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        if mark and mark.line < len(self._lines) and "\t" in _indentation(self._lines[mark.line]):
            self._note_tab(line)
            return
        problem = error.problem or "it is not YAML"
        context = f" {error.context}" if error.context else ""
        since = f" that began in line {error.context_mark.line + 1}" if error.context_mark else ""
        remedy = next((text for sign, text in _SYNTAX_REMEDIES if sign in problem), "Correct the YAML here.")
        self._note(line, f"{problem}{context}{since}", remedy)

    def _note(self, line: int, text: str, remedy: str, path: KeyPath = ()) -> None:
        self.problems.append(Problem(self._source.name, line, path_text(path), text, remedy))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Stop

    def _stop(self, line: int, text: str, remedy: str, path: KeyPath = ()) -> NoReturn:
        self._note(line, text, remedy, path)
        raise _Stop


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML 1.1 or 1.2 would not read as a string."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  PyYAML's signature
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Represent a string; one that would resolve to something else gets quotes."""
        try:
            style = None if isinstance(resolve(text), str) and text != "<<" else '"'
        except NotFinite:
            style = '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def _shared(text: str) -> str:
    """The text; a short one, as keys and words are, is one object however often it stands in a file."""
    return sys.intern(text) if len(text) <= _SHARED_CHARS else text


def _joined(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    return (bytes.fromhex(match[1]) + bytes.fromhex(match[2])).decode("utf-16-be")


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
