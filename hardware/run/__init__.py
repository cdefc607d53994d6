"""From a board's name to its first report in the cloud, in one command.

build, if stale ──> flash, with the provisioning file ──> the board or qemu starts ──> a twin in the cloud
"""
