"""pyfirmata2, which shares no code with ours, at a port: says each change of its inputs, sets outputs as it is told.

Lines in:  pin 13 1 | pwm 9 0.5 | end        Lines out: ready NAME VERSION PINS | d2 True | a0 0.5 | done
"""

import sys

import pyfirmata2
from pyfirmata2 import pyfirmata2 as module


def main(port: str) -> None:
    module.BOARD_SETUP_WAIT_TIME = 0.3  # a virtual board boots at once
    board = pyfirmata2.Arduino(port)
    board.sp.write(b"\xf9")  # a real board would have said both when the port was opened
    board.send_sysex(module.QUERY_FIRMWARE, [])
    while board.firmware is None:
        board.iterate()
    say(f"ready {board.firmware} {board.firmata_version} {len(board.digital)} {len(board.analog)}")
    button, level = board.get_pin("d:2:u"), board.get_pin("a:0:i")
    button.register_callback(lambda value: say(f"d2 {value}"))
    level.register_callback(lambda value: say(f"a0 {value}"))
    board.samplingOn(20)
    outputs = {}
    for line in sys.stdin:
        kind, *rest = line.split()
        if kind == "end":
            break
        number, value = rest
        if number not in outputs:
            outputs[number] = board.get_pin(f"d:{number}:{'o' if kind == 'pin' else 'p'}")
        outputs[number].write(float(value) if kind == "pwm" else int(value))
        say("done")
    board.exit()


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # what the test reads


main(sys.argv[1])
