"""What a machine needs for the nftables plane, looked at one by one, and how all that is ours is taken away.

Nothing is changed by looking: samples are only compiled by the kernel, never put in force.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesh.anyip import Network, our_routes, overlaps, present, remove_route
from mesh.errors import PlaneError
from mesh.planes.nft.kernel import Kernel
from mesh.planes.nft.library import Nft
from mesh.planes.nft.names import FAMILY, TABLE
from mesh.planes.nft.ruleset import chains_of, removal

_SYSCTL: Final = Path("/proc/sys/net")
_FULL: Final = 0.9
_KERNEL: Final = "Use a kernel that has it, or let userspace carry the services"
# Each is one expression of the kernel that rules of ours use.
_SAMPLES: Final = {
    "weights (numgen)": "numgen random mod 2 vmap { 0 : accept, 1 : accept }",
    "client hashing (jhash)": "jhash ip saddr mod 2 seed 0x1 vmap { 0 : accept, 1 : accept }",
    "rate limits (limit)": "limit rate over 5/second burst 5 packets reject with tcp reset",
    "connection limits (ct count)": "meta l4proto tcp ct count over 5 reject with tcp reset",
    "node ports (fib)": "fib daddr type local accept",
    "destination NAT": "meta l4proto tcp dnat ip to numgen inc mod 2 map { 0 : 192.0.2.1 . 80, 1 : 192.0.2.2 . 80 }",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``remedy`` if it is not well. What is not ``needed`` only costs something."""

    name: str
    well: bool
    says: str
    remedy: str = ""
    needed: bool = True


def check(networks: Iterable[Network] = ()) -> list[Finding]:
    """All that the plane needs of this machine. ``networks`` are those of service addresses."""
    found = [*_library(), *_access()]
    if all(one.well for one in found):
        found += [*_features(), *_table(), *_routes(networks)]
    return [*found, *_settings()]


def ours() -> list[str]:
    """What ``flush`` would take away. Raises PlaneError if the kernel does not say."""
    kernel = _kernel()
    try:
        table = [f"table {FAMILY} {TABLE}"] if kernel.has_table() else []
    finally:
        kernel.close()
    return table + [f"route local {network} dev lo" for network in our_routes()]


def flush() -> list[str]:
    """Take our table and our routes away, nothing else; what was there. Raises PlaneError if the kernel refuses.

    Connections that the kernel carries by them end; those of the userspace plane do not.
    """
    done = []
    if table_is_there():
        remove_table()
        done.append(f"table {FAMILY} {TABLE}")
    return done + [f"route local {network} dev lo" for network in our_routes() if remove_route(network)]


def table_is_there() -> bool:
    """Whether our table stands in the kernel. Raises PlaneError if it gives no access."""
    kernel = _kernel()
    try:
        return kernel.has_table()
    finally:
        kernel.close()


def remove_table() -> None:
    """Take our table away. Raises PlaneError if the kernel refuses."""
    nft = Nft().open()
    try:
        nft.run(removal())
    finally:
        nft.close()


def _library() -> Iterator[Finding]:
    try:
        Nft().open().close()
    except PlaneError as error:
        yield Finding("libnftables", False, error.message, error.remedy)
    else:
        yield Finding("libnftables", True, "is there")


def _access() -> Iterator[Finding]:
    try:
        _kernel().close()
    except PlaneError as error:
        yield Finding("nf_tables", False, error.message, error.remedy)
    else:
        yield Finding("nf_tables", True, "answers")


def _features() -> Iterator[Finding]:
    """Have the kernel compile a sample of each, in a transaction that is given up."""
    nft = Nft().open(dry=True)
    try:
        for name, sample in _SAMPLES.items():
            chain = "{ type nat hook prerouting priority -110; }"
            text = f"add table {FAMILY} {TABLE}-look\nadd chain {FAMILY} {TABLE}-look look {chain}\n"
            try:
                nft.run(f"{text}add rule {FAMILY} {TABLE}-look look {sample}\n")
            except PlaneError as error:
                yield Finding(name, False, error.message, _KERNEL)
            else:
                yield Finding(name, True, "the kernel has it")
    finally:
        nft.close()


def _table() -> Iterator[Finding]:
    name = f"table {FAMILY} {TABLE}"
    kernel = _kernel()
    try:
        standing = kernel.standing(())
    finally:
        kernel.close()
    if not standing.chains:
        yield Finding(name, True, "is not there: no service is carried by the kernel")
        return
    wanted = chains_of(())
    odd = [chain for chain, rules in wanted.items() if standing.chains.get(chain) != rules]
    if odd:
        text = f"is not as the mesh made it: {', '.join(odd)}"
        yield Finding(name, False, text, "A running mesh puts it back within seconds; start it, or flush")
    else:
        services = sum(1 for chain in standing.chains if chain.startswith("to/") and chain.count("/") == 4)
        yield Finding(name, True, f"is whole, with {services} service ports")


def _routes(networks: Iterable[Network]) -> Iterator[Finding]:
    for network in networks:
        name = f"route to {network}"
        if taken := overlaps(network):
            text = f"the machine has {', '.join(taken)} inside of the network of service addresses"
            yield Finding(name, False, text, "Give the mesh another network for its service addresses")
        elif present(network):
            yield Finding(name, True, "is there")
        else:
            text = "is not there: only frontends of 127.96.0.0/16 are reached"
            yield Finding(name, False, text, f"Start the mesh as root, or run: ip route add local {network} dev lo")


def _settings() -> Iterator[Finding]:
    for name, ip in (("ipv4/ip_forward", "IPv4"), ("ipv6/conf/all/forwarding", "IPv6")):
        on = _read(name) == 1
        remedy = "" if on else f"sysctl -w net.{name.replace('/', '.')}=1"
        says = f"is {'on' if on else 'off: pods and other machines do not reach services through this gateway'}"
        yield Finding(f"forwarding of {ip}", on, says, remedy, needed=ip == "IPv4")
    most, count = _read("netfilter/nf_conntrack_max"), _read("netfilter/nf_conntrack_count")
    if most is None or count is None:
        yield Finding("conntrack", False, "is not in this kernel", _KERNEL)
    else:
        roomy = count < most * _FULL
        remedy = "" if roomy else f"sysctl -w net.netfilter.nf_conntrack_max={most * 2}"
        yield Finding("conntrack", roomy, f"tracks {count} connections of at most {most}", remedy)
    counting = _read("netfilter/nf_conntrack_acct") == 1
    says = f"is {'on' if counting else 'off: connections are counted, their packets and bytes are not'}"
    remedy = "" if counting else "sysctl -w net.netfilter.nf_conntrack_acct=1"
    yield Finding("counting of bytes", counting, says, remedy, needed=False)
    if _read("bridge/bridge-nf-call-iptables") == 1:
        says = "is on: a pod does not reach a service that it alone is behind, unless its port of the bridge is hairpin"
        yield Finding("filtering of bridges", True, says, "ip link set PORT type bridge_slave hairpin on", needed=False)


def _kernel() -> Kernel:
    try:
        kernel = Kernel()
        kernel.generation()
    except OSError as error:
        msg = f"the kernel gives no access to nftables: {error.strerror}"
        remedy = "Run as root or with CAP_NET_ADMIN" if os.geteuid() else "Use a kernel with CONFIG_NF_TABLES"
        raise PlaneError(msg, remedy=remedy) from error
    return kernel


def _read(name: str) -> int | None:
    try:
        return int((_SYSCTL / name).read_text())
    except (OSError, ValueError):
        return None
