"""From a board to a working gateway: what the boards are, how images get onto disks, and how the machine is."""
