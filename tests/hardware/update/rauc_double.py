"""RAUC 1.8 as far as an updater sees it, with the state of the slots as GRUB's environment has it: ``FOLDER WORDS...``.

The shape of the answers is that of `rauc status --detailed --output-format=json` and `rauc info --output-format=json`
of Debian's rauc 1.8; the real one runs in the virtual machines of tests/vm.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

OTHER = {"A": "B", "B": "A"}


def main() -> int:
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    state = json.loads((folder / "state.json").read_text())
    booted = state["booted"]
    match [word for word in words if not word.startswith("--")]:
        case ["info", bundle]:
            said = json.loads(Path(bundle).read_text())
            if said.get("damaged"):
                sys.stderr.write("signature verification failed: CMS Verification failure\n")
                return 1
            sys.stdout.write(json.dumps({"compatible": said["compatible"], "version": said["version"], "build": ""}))
        case ["status"]:
            sys.stdout.write(json.dumps(status(state)))
        case ["install", bundle]:
            other = OTHER[booted]
            state[other] |= {"ok": 0, "try": 0}
            shutil.copyfile(bundle, folder / f"slot-{other}")
            state[other]["version"] = json.loads(Path(bundle).read_text())["version"]
        case ["status", "mark-active", which]:
            slot = booted if which == "booted" else OTHER[booted]
            state[slot] |= {"ok": 1, "try": 0}
            state["order"] = [slot, OTHER[slot]]
        case ["status", "mark-good", "booted"]:
            state[booted] |= {"ok": 1, "try": 0}
        case _:
            sys.stderr.write(f"Unknown command {words}\n")
            return 1
    (folder / "state.json").write_text(json.dumps(state))
    return 0


def status(state) -> dict[str, object]:
    good = {name: state[name]["ok"] == 1 and state[name]["try"] == 0 for name in OTHER}
    primary = next((name for name in state["order"] if good[name]), None)
    numbers = {"A": 0, "B": 1}
    slots = [
        {
            f"rootfs.{number}": {
                "class": "rootfs",
                "device": f"/dev/disk/by-partuuid/{name}",
                "type": "ext4",
                "bootname": name,
                "state": "booted" if name == state["booted"] else "inactive",
                "parent": None,
                "mountpoint": None,
                "boot_status": "good" if good[name] else "bad",
                "slot_status": {"bundle": {"version": state[name]["version"]}} if state[name].get("version") else {},
            }
        }
        for name, number in numbers.items()
    ]
    return {
        "compatible": "qemu-x86-64",
        "variant": "",
        "booted": state["booted"],
        "boot_primary": f"rootfs.{numbers[primary]}" if primary else None,
        "slots": slots,
    }


if __name__ == "__main__":
    sys.exit(main())
