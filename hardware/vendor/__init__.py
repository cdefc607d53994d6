"""Makes a gateway of a vendor's image, of the layout of Raspberry Pi OS, without root and without a mount.

vendor's image ──unpacked──> MBR | FAT: config.txt, cmdline.txt | ext4: the root, enlarged if it must be
                                    ^ hardware.media.fat              ^ debugfs
release, units, rules (pure) ───────┴─────────────────────────────────┘
"""
