# texts of other files, as they stand there
"""The rules of the dashboard, and of the watch that it lives by, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

RULES = ("tests/twin/page/test_rules.py",)
APP = ("tests/twin/page/test_app.py",)
WATCHES = ("tests/twin/test_watches.py",)

PAGE_MUTANTS = (
    Mutant(
        "page_any_host", "twin.page.hosts", 'return host == "localhost" or host in', "return host or host in", RULES
    ),
    Mutant("page_host_begins", "twin.page.hosts", 'host == "localhost"', 'host.startswith("localhost")', RULES),
    Mutant("page_any_origin", "twin.page.guard", 'return site == "same-origin" and ', "return ", RULES),
    Mutant("page_any_site", "twin.page.guard", " and origin.lower() ==", " or origin.lower() ==", RULES),
    Mutant("page_no_csrf", "twin.page.app", "if changes and not is_csrf(", "if False and not is_csrf(", APP),
    Mutant("page_stays_open", "twin.page.live", "if not await self._stays():", "if False:", APP),
    Mutant(
        "page_any_password",
        "twin.page.passwords",
        "return hmac.compare_digest(found,",
        "return bool(found) or (",
        RULES,
    ),
    Mutant("page_session_for_ever", "twin.page.sessions", "and session.ends_at > self._now_ms()", "", RULES),
    Mutant("page_sessions_without_bound", "twin.page.sessions", "len(self._sessions) >= MAX_SESSIONS", "False", RULES),
    Mutant("page_no_wait", "twin.page.rate", "        if times < free:", "        if True:", RULES),
    Mutant("page_waits_for_ever", "twin.page.rate", "LONGEST_S)\n", "1e9)\n", RULES),
    Mutant(
        "page_addresses_without_bound", "twin.page.rate", "len(self._failures) < MAX_ADDRESSES or", "True or", RULES
    ),
    Mutant("page_uncertain_is_good", "twin.page.listing", 'return "uncertain"', 'return "good"', RULES),
    Mutant("page_past_the_last", "twin.page.listing", "min(wish.page, pages - 1)", "wish.page", RULES),
    Mutant("page_any_word", "twin.page.listing", "return all(word in text", "return any(word in text", RULES),
    Mutant("chart_without_peaks", "twin.page.chart", "        keep.add(max(numbers,", "        (max(numbers,", RULES),
    Mutant("watch_without_rest", "twin.watches", "REST if watch.ready else FIRST_REST", "0.0", WATCHES),
    Mutant("watch_never_lets_go", "twin.watches", "or watch.until_s < began_s:", "or False:", WATCHES),
    Mutant("watch_loses_what_is_full", "twin.watches", "watch.portion = keys + watch.portion", "pass", WATCHES),
    Mutant("watch_every_change", "twin.watches", "watch.began_s + watch.every_s", "0.0", WATCHES),
    Mutant("watch_ready_at_once", "twin.watches", "ready=not watch.portion and not", "ready=not", WATCHES),
)
