"""The rules of the mesh's documents, and of who gets them, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

INTEREST, MESHING, OFFERS, PLACING = (
    "cloudsync.scheduler.interest",
    "cloudsync.scheduler.meshing",
    "cloudsync.scheduler.offers",
    "cloudsync.placing",
)
ROUTES, REGULAR, CIRCLES = "twin.manifest.route_rules", "twin.manifest.regular", "twin.manifest.mesh_references"
LISTED, TREATING = "edgehub.mesh.listed", "edgehub.mesh.treating"
CLOUD = ("tests/cloudsync/scheduler/test_meshing.py",)
DOCUMENTS = ("tests/twin/manifest/test_mesh_documents.py", "tests/twin/manifest/test_bad_files.py")
TRANSLATED = ("tests/edgehub/mesh/test_translate.py",)

DOCUMENT_MUTANTS = (
    # Who gets what.
    Mutant(
        "every_gateway_gets_all",
        INTEREST,
        "there = (told | selected) & web",
        "there = web.services.keys() & web",
        CLOUD,
    ),
    Mutant("pods_are_no_interest", INTEREST, "(told | selected)", "(told)", CLOUD),
    Mutant(
        "routes_of_backends_come_too",
        INTEREST,
        "refs |= self._alone(behind)",
        "refs |= self._alone(behind) | self._routes.get(behind, set())",
        CLOUD,
    ),
    Mutant("backends_are_left_out", INTEREST, "for behind in services - {name}:", "for behind in ():", CLOUD),
    Mutant(
        "policies_of_routes_are_left_out", INTEREST, "{route} | self._of_routes.get(route, set())", "{route}", CLOUD
    ),
    Mutant(
        "alarms_by_labels_are_left_out",
        INTEREST,
        "selector.match_labels.items() <= document.labels.items()",
        "False",
        CLOUD,
    ),
    Mutant("own_documents_are_overwritten", PLACING, "(not own.uid or own.uid.startswith(CARRIED)):", "True:", CLOUD),
    Mutant(
        "own_documents_are_taken_away", PLACING, "unknown(ref))).uid.startswith(CARRIED)]", "unknown(ref))).uid]", CLOUD
    ),
    Mutant("what_was_changed_there_stays", MESHING, "(had.hash != one.hash and", "(False and", CLOUD),
    Mutant("a_gateway_is_told_of_its_own_pods", MESHING, "if other != gateway:", "if True:", CLOUD),
    Mutant(
        "nobody_asks_how_pods_are",
        MESHING,
        "return await self._store.workloads.reports(known.keys, _TOLD) != known.reports",
        "return False",
        CLOUD,
    ),
    Mutant("idle_too_early", MESHING, "if not documents and self._idle:", "if not documents:", CLOUD),
    Mutant("pods_that_are_not_ready_are_ready", MESHING, 'report.reported.get("ready") is True', "True", CLOUD),
    Mutant(
        "own_networks_are_reached_from_outside",
        OFFERS,
        "bool(way.tunnel) or offer.own_network",
        "bool(way.tunnel)",
        CLOUD,
    ),
    # What is refused.
    Mutant(
        "a_parent_may_be_a_neighbours",
        ROUTES,
        "if one.namespace not in (None, document.namespace):",
        "if False:",
        DOCUMENTS,
    ),
    Mutant(
        "all_weights_may_be_0", ROUTES, "and not any(one.weight for one in rule.backend_refs)", "and False", DOCUMENTS
    ),
    Mutant("redirects_in_a_circle", ROUTES, "and same_host and same_path", "and False", DOCUMENTS),
    Mutant("names_in_a_circle", CIRCLES, "if following == start:", "if False:", DOCUMENTS),
    Mutant("node_ports_are_shared", CIRCLES, "if first != name:", "if False:", DOCUMENTS),
    Mutant("repetitions_are_repeated", REGULAR, "repeated=repeated or most > 1", "repeated=repeated", DOCUMENTS),
    Mutant("two_loose_ends", REGULAR, "if self._loose and self._endless > 1:", "if self._endless > 2:", DOCUMENTS),
    Mutant(
        "case_does_not_count",
        REGULAR,
        "in {*chr(following[1]).lower(), *chr(following[1]).upper()}",
        "in {chr(following[1])}",
        DOCUMENTS,
    ),
    # What it comes to.
    Mutant(
        "documents_know_better_than_the_gateway",
        LISTED,
        "if not (spec.selector and one.endpoint.node == node)",
        "if True",
        TRANSLATED,
    ),
    Mutant(
        "the_cloud_comes_first",
        LISTED,
        "one.endpoint.origin is Origin.CLOUD",
        "one.endpoint.origin is not Origin.CLOUD",
        TRANSLATED,
    ),
    Mutant("a_cluster_is_counted_twice", LISTED, "if key not in sliced:", "if True:", TRANSLATED),
    Mutant(
        "the_last_policy_counts",
        TREATING,
        "first = taken.setdefault(key, stored)",
        "first = taken[key] = stored",
        TRANSLATED,
    ),
    Mutant(
        "a_policy_takes_the_place_of_the_rule",
        TREATING,
        "over(mine, theirs) if isinstance(mine, Part)",
        "theirs if isinstance(mine, Part)",
        TRANSLATED,
    ),
    Mutant("two_ways_to_balance", TREATING, "said.setdefault(against, None)", "pass", TRANSLATED),
)
