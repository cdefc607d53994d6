"""What goes wrong with hardware.

HardwareError
├── UnknownBoard      no profile of this name
├── InvalidBoard      a profile that cannot be used
├── InvalidImage      an image that cannot be flashed, or that is not what its block map says
├── NoSuchDisk        the target is not there, or no disk
├── DiskRefused       a disk that must not be written; nothing was
├── InvalidProvisioning   a provisioning file that cannot be used; nothing was applied
├── InvalidKey        a key or certificate for updates that cannot be used
├── BundleRefused     a bundle that this gateway does not take; nothing was changed
├── UpdateFailed      a release that could not be had, laid out or started; what ran before runs on
│   └── UpdateBusy    another update is under way
├── BootFailed        a board that did not start, or did not come to the cloud
├── BuildFailed       an image that could not be made; what was there before stands
└── FlashFailed       the disk did not take the image; it is left without a partition table
    └── WrongReadBack     what was read back is not what was written
"""

from __future__ import annotations

from twin.errors import EdgetwinError


class HardwareError(EdgetwinError):
    """Root of the errors of hardware."""

    code = "hardware"


class UnknownBoard(HardwareError):
    """No profile of this name."""

    code = "unknown_board"


class InvalidBoard(HardwareError):
    """A profile that cannot be used."""

    code = "invalid_board"


class InvalidImage(HardwareError):
    """An image that cannot be flashed, or that is not what its block map says."""

    code = "invalid_image"


class NoSuchDisk(HardwareError):
    """The target is not there, or no disk."""

    code = "no_such_disk"


class DiskRefused(HardwareError):
    """A disk that must not be written; nothing was."""

    code = "disk_refused"


class InvalidProvisioning(HardwareError):
    """A provisioning file that cannot be used; nothing was applied."""

    code = "invalid_provisioning"


class InvalidKey(HardwareError):
    """A key or certificate for updates that cannot be used."""

    code = "invalid_key"


class BundleRefused(HardwareError):
    """A bundle that this gateway does not take; nothing was changed."""

    code = "bundle_refused"


class UpdateFailed(HardwareError):
    """A release that could not be had, laid out or started. What ran before runs on."""

    code = "update_failed"


class UpdateBusy(UpdateFailed):
    """Another update is under way."""

    code = "update_busy"


class BootFailed(HardwareError):
    """A board that did not start, or did not come to the cloud."""

    code = "boot_failed"


class BuildFailed(HardwareError):
    """An image that could not be made; what was there before stands."""

    code = "build_failed"


class FlashFailed(HardwareError):
    """The disk did not take the image. It is left without a partition table, so that nothing boots from it."""

    code = "flash_failed"


class WrongReadBack(FlashFailed):
    """What was read back is not what was written."""

    code = "wrong_read_back"
