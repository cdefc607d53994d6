"""GRUB's choice of a slot at each boot. Pure."""

from __future__ import annotations

from typing import Final

from hardware.image.spec import ImageSpec

SLOTS: Final = {"A": "root-a", "B": "root-b"}


def grub_cfg(spec: ImageSpec) -> str:
    """GRUB's choice of a slot: the first of ORDER that is OK and has tries left; if none has, the first again.

    The tries of the slot that is SURE do not count: they are for a release that has not proven itself.
    """
    arguments = " ".join(("ro", "quiet", *spec.board.kernel_arguments))
    lines = ["load_env", "regexp --set=1:disk '^([^,]+),' \"$root\"", "set slot="]
    lines += ["# Where the state of the slots cannot be read, the oldest is the safest.", 'if [ -z "${ORDER}" ]; then']
    lines += ['  set ORDER="A B"', "  set A_OK=1", "  set B_OK=1", "  set A_TRY=0", "  set B_TRY=0", "fi"]
    for tries, then in (("0", "1"), ("1", "2"), ("2", "3")):
        lines += [f'if [ "${{{name}_TRY}}" = "{tries}" ]; then set {name}_NEXT={then}; fi' for name in SLOTS]
    lines += [f'if [ "${{SURE}}" = "{name}" ]; then set {name}_NEXT=0; fi' for name in SLOTS]
    lines += ["for one in ${ORDER}; do", '  if [ -z "$slot" ]; then']
    for name in SLOTS:
        test = f'[ "$one" = "{name}" -a "${{{name}_OK}}" = "1" -a -n "${{{name}_NEXT}}" ]'
        lines += [f"    if {test}; then set slot={name}; set {name}_TRY=${{{name}_NEXT}}; fi"]
    lines += ["  fi", "done"]
    lines += [
        "# All tries are spent: a gateway that boots nothing is worse than one that tries the newest again.",
        'if [ -z "$slot" ]; then',
    ]
    lines += [
        "  set A_TRY=0",
        "  set B_TRY=0",
        '  for one in ${ORDER}; do if [ -z "$slot" ]; then set slot=$one; fi; done',
        "fi",
    ]
    lines += ['if [ "$slot" != "${SURE}" ]; then save_env A_TRY B_TRY; fi']
    for name, part in SLOTS.items():
        number = [one.name for one in spec.board.partitions].index(part) + 1
        root = f"root=PARTUUID={spec.uuid(part)}"
        lines += [f'if [ "$slot" = "{name}" ]; then', f"  set root=(${{disk}},gpt{number})"]
        lines += [f"  linux /vmlinuz {root} {arguments} rauc.slot={name}", "  initrd /initrd.img", "fi"]
    return "\n".join([*lines, "boot", ""])
