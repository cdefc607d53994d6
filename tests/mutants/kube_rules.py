# texts of other files, as they stand there
"""The rules between a cluster and a cloud, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

PLAN, WRITES, FOLLOWING = (f"tests/cloudsync/kube/test_{name}.py" for name in ("plan", "writes", "following"))

KUBE_MUTANTS = (
    Mutant(
        "kube_deletes_what_others_made",
        "cloudsync.kube.plan",
        "if cluster_of(one.document) == cluster}",
        "}",
        (PLAN,),
    ),
    Mutant(
        "kube_overwrites_what_others_made",
        "cloudsync.kube.plan",
        "elif old is not None and cluster_of(old.document) != cluster:",
        "elif False:",
        (PLAN,),
    ),
    Mutant(
        "kube_life_of_a_name_goes_on",
        "cloudsync.kube.plan",
        "or uid not in (None, old.uid) or old.hash",
        "or old.hash",
        (PLAN,),
    ),
    Mutant(
        "kube_deleted_pod_comes_back",
        "cloudsync.kube.plan",
        "if wanted.uids.get(ref) in gone.get(ref, frozenset()):",
        "if False:",
        (PLAN,),
    ),
    Mutant(
        "kube_gone_before_the_gateway_knows",
        "cloudsync.kube.settling",
        'text(said, "seen") == summary(of_pods) and pod.uid not in there',
        "pod.uid not in there",
        (PLAN,),
    ),
    Mutant(
        "kube_gone_while_something_is_left",
        "cloudsync.kube.settling",
        'text(said, "seen") == summary(of_pods) and pod.uid not in there',
        'text(said, "seen") == summary(of_pods)',
        (PLAN,),
    ),
    Mutant(
        "kube_lists_hide_changes",
        "cloudsync.kube.mirror",
        "(old.uid, old.version) != (new.uid, new.version)",
        "old.uid != new.uid",
        (PLAN, FOLLOWING),
    ),
    Mutant("kube_writes_as_fast_as_it_can", "cloudsync.kube.writes", "if self._tokens < 1.0:", "if False:", (WRITES,)),
    Mutant(
        "kube_backup_goes_unnoticed",
        "cloudsync.kube.following",
        "if is_later(self._mirror.version, now):",
        "if False:",
        (FOLLOWING,),
    ),
)
