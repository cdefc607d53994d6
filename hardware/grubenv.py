"""GRUB's environment block, in which the state of the slots is kept. Pure.

ORDER=A B    which slot is tried first            A_OK=1     it holds a whole system
SURE=A       the slot whose tries do not count    A_TRY=0    boots since it was installed, at most three
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BLOCK_BYTES: Final = 1024
HEAD: Final = "# GRUB Environment Block\n"
NEW: Final = {"ORDER": "A B", "SURE": "", "A_OK": "1", "A_TRY": "0", "B_OK": "0", "B_TRY": "0"}
"""Of a new image: only A holds a system. Also what a block that cannot be read is taken for."""


def parsed(block: bytes) -> dict[str, str]:
    """The variables of a block. Raises ValueError if it is none."""
    text = block.decode("ascii")
    if len(block) != BLOCK_BYTES or not text.startswith(HEAD):
        message = "this is no environment block of GRUB"
        raise ValueError(message)
    lines = text[len(HEAD) :].rstrip("#").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def rendered(variables: Mapping[str, str]) -> bytes:
    """A block of these variables."""
    head = (HEAD + "".join(f"{name}={value}\n" for name, value in variables.items())).encode("ascii")
    return head + b"#" * (BLOCK_BYTES - len(head))


TOOL: Final = f"""#!/bin/sh
# What RAUC asks of GRUB's environment: FILE list, FILE set NAME=VALUE...
# GRUB's own program of this name cuts the file to nothing before it writes, so that a power cut in between leaves no
# slot to boot. This one writes over what is there, in one sector, as GRUB does when it boots. And it adds SURE: a slot
# that was marked good is sure, and power cuts in a row do not use up its tries. One that is not OK is not sure.
set -eu
file=$1
verb=$2
shift 2
first=
if [ ! -f "$file" ]; then  # the boot partition is not there: to guess would call a system good that nobody looked at
    echo "error: $file is not there" >&2
    exit 1
fi

listed() {{
    IFS= read -r first <"$file" || true
    if [ "$first" = "{HEAD.strip()}" ]; then
        while IFS= read -r line; do
            case $line in \\#*) ;; *=*) echo "$line" ;; esac
        done <"$file"
    else
        printf '%s\\n' {" ".join(f'"{name}={value}"' for name, value in NEW.items())}
    fi
}}

put() {{
    kept=
    while IFS= read -r line; do
        case $line in "${{1%%=*}}="*) ;; *) kept="$kept$line
" ;; esac
    done <<EOF
$variables
EOF
    variables="$kept$1"
}}

case $verb in
list)
    listed
    ;;
set)
    variables=$(listed)
    before=$variables
    case " $* " in *" ORDER="*) made_next=1 ;; *) made_next= ;; esac
    for pair; do
        put "$pair"
        slot=${{pair%%_OK=*}}
        case $pair in
        ?_OK=1) [ -n "$made_next" ] || put "SURE=$slot" ;;  # to be the next proves nothing of it yet
        ?_OK=*)
            case $variables in *"SURE=$slot"*) put "SURE=" ;; esac
            ;;
        esac
    done
    variables=$(printf '%s\\n' "$variables" | sort)
    [ "$variables" != "$(printf '%s\\n' "$before" | sort)" ] || [ ! -s "$file" ] || exit 0
    if [ ${{#variables}} -gt 400 ]; then
        echo "error: the variables do not fit into one sector" >&2
        exit 1
    fi
    fill=$(printf '%{BLOCK_BYTES}s' | tr ' ' '#')
    printf '%s\\n%s\\n%s' "{HEAD.strip()}" "$variables" "$fill" |
        dd of="$file" bs={BLOCK_BYTES} count=1 iflag=fullblock conv=notrunc,fsync status=none
    ;;
*)
    echo "usage: grub-editenv FILE list | FILE set NAME=VALUE..." >&2
    exit 2
    ;;
esac
"""
