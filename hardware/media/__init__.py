"""What lies on a medium, read and changed without mounting it: the partition table, and files of a FAT partition."""
