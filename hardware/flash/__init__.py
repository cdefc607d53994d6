"""Writes an image to a disk so that the wrong disk is never written, and a wrong write never goes unnoticed.

lsblk ──> disks ──refusal rules (pure)──> plan ──> writer: table away, ranges, read back, table last, read back
image ──> block map (ranges that hold something, a hash for each) ──^
"""
