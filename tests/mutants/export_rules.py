"""The rules of the export of metrics, each broken on purpose."""

from tests.mutants.mutant import Mutant

CONVERSION, EXPORTER = "tests/edgehub/export/test_conversion.py", "tests/edgehub/export/test_exporter.py"
MODULE = "edgehub.export.conversion"

EXPORT_MUTANTS = (
    Mutant("export_fall_goes_on", MODULE, "start_ns = before.time_ns + 1", "start_ns = before.start_ns", (CONVERSION,)),
    Mutant(
        "export_fall_at_the_very_start",
        MODULE,
        "start_ns = before.time_ns + 1",
        "start_ns = before.time_ns",
        (CONVERSION,),
    ),
    Mutant("export_rises_begin_anew", MODULE, "any(\n        now < then", "any(\n        now > then", (CONVERSION,)),
    Mutant("export_start_after_the_point", MODULE, "min(start_ns, time_ns)", "start_ns", (CONVERSION,)),
    Mutant("export_remembers_what_was_lost", MODULE, "if series in before}", "}", (CONVERSION,)),
    Mutant("export_buckets_stay_sums", MODULE, "many - before for", "many for", (CONVERSION,)),
    Mutant("export_buckets_that_do_not_add_up", MODULE, "or values[-1] != count", "", (CONVERSION,)),
    Mutant("export_series_twice", MODULE, "if series in self.seen:", "if not series:", (CONVERSION,)),
    Mutant(
        "export_falling_sum", MODULE, "metric.sum.is_monotonic = True", "metric.sum.is_monotonic = False", (CONVERSION,)
    ),
    Mutant(
        "export_tells_all_again",
        "edgehub.export.rounds",
        "if self._failing.get(one.url) is not bool(one.why)",
        "if True",
        (EXPORTER,),
    ),
)
