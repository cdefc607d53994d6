"""Makes the bootable image of a board: the same inputs give the same bytes.

board ──> packages ──mmdebstrap──> root file system ──┐
locked wheels ──pip, for the board's architecture─────┼─> partitions ──> image, block map, manifest, SBOM
files of the system (pure) ───────────────────────────┘

    boot      ESP: GRUB, and the state of the slots in grubenv
    root-a/b  read-only; /etc is an overlay, whose upper part is on data
    data      all that is written: /etc's changes, the gateway's state; grows to the end of the disk at first boot
"""
