# Shared by the scripts beside it: words for the person at the terminal, and Debian packages.
# Sourced by bash, from the root of the tree.

say() { printf '==> %s\n' "$*"; }

# fail WHAT REMEDY: one line that says what failed, one that says what to do.
fail() {
    printf '\nerror: %s\n  %s\n' "$1" "$2" >&2
    exit 1
}

# The command that gives root's rights: nothing as root, sudo where it asks for no password, else status 1.
root_command() {
    if [ "$(id -u)" -eq 0 ]; then
        echo env
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        echo sudo -n env
    else
        return 1
    fi
}

# apt_install PACKAGE...: install as root, starting no service. A package that starts one asks policy-rc.d first
# (status 101 means no), so ours stands there meanwhile, unless the machine has its own.
apt_install() {
    local root policy=/usr/sbin/policy-rc.d own_policy=no status=0
    root=$(root_command) || return 1
    command -v apt-get >/dev/null || return 1
    if [ ! -e "$policy" ]; then
        own_policy=yes
        # Ctrl-C and errors must not leave it behind: it would keep every later package from starting its service.
        # shellcheck disable=SC2064  # expanded now, while the names are in scope
        trap "$root rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null && $root chmod 755 "$policy"
    fi
    {
        $root apt-get -q -o DPkg::Lock::Timeout=120 update &&
            $root DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
                install --no-install-recommends "$@"
    } >>"$setup_log" 2>&1 || status=$?
    if [ "$own_policy" = yes ]; then
        $root rm -f "$policy"
        trap - EXIT
    fi
    return "$status"
}

setup_log=.cache/setup.log
mkdir -p .cache
