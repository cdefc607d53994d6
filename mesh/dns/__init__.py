"""Names of the mesh: answered from memory, whatever the line does; all others are forwarded."""

from mesh.dns.respond import DnsCounters
from mesh.dns.server import DnsServer, DnsUnavailable
from mesh.dns.settings import DnsSettings, PodNames

__all__ = ["DnsCounters", "DnsServer", "DnsSettings", "DnsUnavailable", "PodNames"]
