# texts of other files, as they stand there
"""The rules of the mesh's DNS, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

ZONE, MESSAGE, CACHE = (f"tests/mesh/dns/test_{name}.py" for name in ("zone", "message", "cache"))

DNS_MUTANTS = (
    Mutant(
        "dns_empty_names_are_denied",
        "mesh.dns.zone",
        "return Found(NODATA if namespace in self._namespaces else NXDOMAIN)",
        "return Found(NXDOMAIN)",
        (ZONE,),
    ),
    Mutant(
        "dns_names_what_is_not_ready",
        "mesh.dns.service",
        "return endpoint.ready or service.publish_not_ready",
        "return True",
        (ZONE,),
    ),
    Mutant(
        "dns_pinned_zone_takes_others",
        "mesh.dns.service",
        'near if near or choice == "pin" else offered',
        "near if near else offered",
        (ZONE,),
    ),
    Mutant(
        "dns_stale_comes_before_fresh",
        "mesh.dns.order",
        "    if endpoint.stale:\n        return STALE\n",
        "",
        (ZONE,),
    ),
    Mutant("dns_weights_do_not_count", "mesh.dns.order", "current[place] += weight", "current[place] += 1", (ZONE,)),
    Mutant(
        "dns_change_leaves_ready_answers",
        "mesh.dns.answers",
        "self.ready.pop(message, None)",
        "pass",
        (ZONE,),
    ),
    Mutant("dns_denied_stays_denied", "mesh.dns.answers", "            self._drop(key)\n", "", (ZONE,)),
    Mutant(
        "dns_trailing_bytes_are_read_over",
        "mesh.dns.message",
        "return found if at == len(data) else Unreadable(None)",
        "return found",
        (MESSAGE,),
    ),
    Mutant("dns_answers_answers", "mesh.dns.message", "    if flags & QR:\n", "    if False:\n", (MESSAGE,)),
    Mutant("dns_truncates_in_silence", "mesh.dns.message", "flags |= TC", "flags |= 0", (MESSAGE,)),
    Mutant(
        "dns_failure_replaces_what_was_known",
        "mesh.dns.cache",
        "if not heard.is_useful and (self.stale(key, now_s) or self.fresh(key, now_s)):",
        "if False:",
        (CACHE,),
    ),
    Mutant(
        "dns_stale_for_ever",
        "mesh.dns.cache",
        "if 0 <= overdue_s < MAX_STALE_S else",
        "if 0 <= overdue_s else",
        (CACHE,),
    ),
    Mutant(
        "dns_times_to_live_stand_still",
        "mesh.dns.cache",
        "[0] - age_s, 0)",
        "[0], 0)",
        (CACHE,),
    ),
    Mutant(
        "dns_cache_grows",
        "mesh.dns.cache",
        "while len(self._entries) > self._max_names:",
        "while False:",
        (CACHE,),
    ),
)
