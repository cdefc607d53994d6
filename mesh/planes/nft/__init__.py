"""The kernel as a data plane: one nftables table of our own."""

from mesh.planes.nft.doctor import Finding, check, flush
from mesh.planes.nft.plane import Nftables

__all__ = ["Finding", "Nftables", "check", "flush"]
