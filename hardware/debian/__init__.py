"""The gateway on a Debian that is there already: a package (.deb), and the same files for vendors' images.

/opt/edgetwin/releases/VERSION   the program with all its libraries, as a virtual environment of Debian's Python
/opt/edgetwin/current            the release that runs; switched in one step
/opt/edgetwin/proven             the one that is known to work; another than the current one while an update is tried
/etc/edgetwin, /var/lib/edgetwin settings and state, which outlive any release
"""
