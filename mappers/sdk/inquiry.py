"""Questions about a plugin, answered in a process of its own: ``python -m mappers.sdk.inquiry NAME``.

A plugin's import and its models are code of others: they may hang, eat memory or end the process. So the hub asks them
over pipes: one line of JSON a question, one line an answer.
"""

from __future__ import annotations

import os
import resource
import sys
from typing import Annotated, Any, Final, Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from mappers.sdk.checks import LocalMapper, Part
from mappers.sdk.registry import Registry
from twin.errors import EdgetwinError
from twin.model import ValueType
from twin.parent import die_with_parent

MEMORY_BYTES: Final = 512 * 1024 * 1024


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AskAliases(_Line):
    """Which of KubeEdge's protocol names mean this mapper; answered by names."""

    ask: Literal["aliases"] = "aliases"


class AskSplit(_Line):
    """How KubeEdge's one map is split; answered by two maps."""

    ask: Literal["split"] = "split"
    config: dict[str, Any]


class AskMistakes(_Line):
    """What is wrong with a part; answered by path, text and remedy of each mistake."""

    ask: Literal["mistakes"] = "mistakes"
    part: Part
    given: dict[str, Any]


class AskMismatch(_Line):
    """Whether a visitor goes with a type; answered by a text."""

    ask: Literal["mismatch"] = "mismatch"
    given: dict[str, Any]
    type: ValueType


Question = Annotated[AskAliases | AskSplit | AskMistakes | AskMismatch, Field(discriminator="ask")]
QUESTION: Final[TypeAdapter[AskAliases | AskSplit | AskMistakes | AskMismatch]] = TypeAdapter(Question)


class Answer(_Line):
    """What the plugin said, or why it could not."""

    said: Any = None
    failure: str = ""
    remedy: str = ""


def answer(mapper: LocalMapper, line: str) -> Answer:
    """Answer one question."""
    question = QUESTION.validate_json(line)
    if isinstance(question, AskAliases):
        return Answer(said=sorted(mapper.mapper.aliases))
    if isinstance(question, AskSplit):
        return Answer(said=list(mapper.split(question.config)))
    if isinstance(question, AskMistakes):
        found = mapper.mistakes(question.part, question.given)
        return Answer(said=[[list(one.path), one.text, one.remedy] for one in found])
    return Answer(said=mapper.mismatch(question.given, question.type))


def serve(name: str, questions: TextIO, answers: TextIO) -> None:
    """Answer until there are no more questions."""
    mapper: LocalMapper | None = None
    for line in questions:
        try:
            mapper = mapper or Registry.installed().only(name).checked(name)
            said = answer(mapper, line)
            text = said.model_dump_json()
        except EdgetwinError as error:
            text = Answer(failure=error.message, remedy=error.remedy).model_dump_json()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the boundary to plugins: they may raise anything
            failed = f"mapper {name!r} failed on its settings: {type(error).__name__}: {error}"
            text = Answer(failure=failed, remedy="This is a fault of the mapper; tell its authors.").model_dump_json()
        answers.write(text + "\n")
        answers.flush()


def main() -> None:
    """Answer on what was standard output; a plugin that prints does so on standard error."""
    die_with_parent(os.getppid())
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.argv[1], sys.stdin, answers)


if __name__ == "__main__":
    main()
