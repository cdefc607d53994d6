"""A Modbus RTU device at the other end of a serial port, without a line of ours: unit 1, read and written by registers.

Input register 0 counts the requests; holding registers keep what is written, and go to a file for the test.
"""

from __future__ import annotations

import os
import struct
import sys
import termios
import tty
from pathlib import Path

UNIT = 1
KEPT = Path("/run/meter")
holding = [0] * 16
count = 0


def crc16(frame: bytes) -> bytes:
    crc = 0xFFFF
    for one in frame:
        crc ^= one
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


def answer(frame: bytes) -> bytes:
    """The answer without its CRC; empty for what is not for us or not whole."""
    global count
    if frame[0] != UNIT:
        return b""
    count += 1
    function, first, last = struct.unpack(">BHH", frame[1:6])
    if function in (3, 4):
        values = holding if function == 3 else [count & 0xFFFF] * 16
        words = values[first : first + last]
        return struct.pack(">BBB", UNIT, function, 2 * len(words)) + struct.pack(f">{len(words)}H", *words)
    if function == 6:
        holding[first] = last
        KEPT.write_text(" ".join(map(str, holding)))
        return frame[:6]
    if function == 16:
        holding[first : first + last] = struct.unpack(f">{last}H", frame[7 : 7 + 2 * last])
        KEPT.write_text(" ".join(map(str, holding)))
        return frame[:6]
    return struct.pack(">BBB", UNIT, function | 0x80, 1)


def main(path: str) -> None:
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd, termios.TCSANOW)
    waiting = b""
    while got := os.read(fd, 256):
        waiting += got
        need = 9 + waiting[6] if len(waiting) > 6 and waiting[1] == 16 else 8
        if len(waiting) < need:
            continue
        frame, waiting = waiting[:need], b""
        if crc16(frame[:-2]) == frame[-2:] and (said := answer(frame)):
            os.write(fd, said + crc16(said))


if __name__ == "__main__":
    main(sys.argv[1])
