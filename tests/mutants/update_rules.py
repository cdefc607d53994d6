# texts of other files, as they stand there
"""The rules of updates, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

MACHINE = "hardware.update.machine"
GATE = "hardware.update.gate"
MANIFEST = "hardware.update.manifest"
BUNDLE = "hardware.update.bundle"
SIGNING = "hardware.update.signing"
STEPS = ("tests/hardware/update/test_machine.py",)
LOOKS = ("tests/hardware/update/test_gate.py",)
READ = ("tests/hardware/update/test_bundle.py",)

UPDATE_MUTANTS = (
    Mutant("update_tries_for_ever", MACHINE, "record.tries >= MAX_TRIES", "False", STEPS),
    Mutant("update_trial_outlives_nothing", MACHINE, "standing.boot == record.boot", "True", STEPS),
    Mutant("update_back_is_not_started", MACHINE, "stage=Stage.BACK_RESTART)", "stage=Stage.BACK)", STEPS),
    Mutant(
        "update_switch_is_tried_in_place",
        MACHINE,
        "stage=Stage.JUDGE, boot=standing.boot), why",
        "boot=standing.boot), why",
        STEPS,
    ),
    Mutant("update_wish_interrupts_a_trial", MACHINE, "record.state is ReleaseState.DOWNLOADING\n", "True\n", STEPS),
    Mutant(
        "update_same_order_again", MACHINE, "(last.version, last.sha256, last.order) != ", "last.sha256 != 0 or ", STEPS
    ),
    Mutant("update_settles_at_once", GATE, "now_s - since_s >= trial.settle_s", "True", LOOKS),
    Mutant(
        "update_never_ends", GATE, "Verdict.BAD if now_s >= trial.ends_at_s else", "Verdict.WAIT if True else", LOOKS
    ),
    Mutant("update_break_is_forgiven", GATE, "well_since_s=None, why=why", "why=why", LOOKS),
    Mutant("update_any_process_will_do", GATE, "or facts.pid != trial.pid", "or False", LOOKS),
    Mutant("update_any_release_will_do", GATE, 'trial.version not in ("", facts.version)', "False", LOOKS),
    Mutant("update_mappers_may_stay_away", GATE, "set(trial.before.mappers) - set(facts.mappers)", "set()", LOOKS),
    Mutant("update_cloud_may_stay_away", GATE, "trial.before.cloud and not facts.cloud", "False", LOOKS),
    Mutant("update_end_is_waited_for", GATE, "if facts.ended or facts.restarts", "if False and facts.restarts", LOOKS),
    Mutant("update_ends_of_before_count", GATE, "restarts=facts.restarts)", "restarts=0)", LOOKS),
    Mutant(
        "update_switch_by_hand_is_kept",
        MACHINE,
        "standing.proven or not standing.before or went_back_to_it",
        "True",
        STEPS,
    ),
    Mutant("update_each_try_is_of_the_machine", MACHINE, "stage=Stage.AGAIN), why", "stage=Stage.RESTART), why", STEPS),
    Mutant("update_order_is_forgotten", MACHINE, "runs=record.wanted if ordered else None", "runs=None", STEPS),
    Mutant("update_other_board", MANIFEST, "manifest.compatible != here.compatible", "False", READ),
    Mutant("update_other_machine", MANIFEST, 'manifest.arch not in ("", here.arch)', "False", READ),
    Mutant("update_older", MANIFEST, "and older != manifest.version", "and False", READ),
    Mutant("update_from_too_old", MANIFEST, "is_older(here.version, manifest.minimum)", "False", READ),
    Mutant("update_files_unchecked", BUNDLE, "left or digest.hexdigest() != one.sha256", "left", READ),
    Mutant("update_more_behind_it", BUNDLE, "size != begins + manifest.files_bytes", "False", READ),
    Mutant(
        "update_anybody_signs", SIGNING, "authorities if _issued(certificate, one)), None)", "authorities), None)", READ
    ),
    Mutant(
        "update_signature_of_something_else",
        SIGNING,
        "_PREFIX + content, ec.ECDSA(hashes.SHA256()))\n    except",
        "_PREFIX + content, ec.ECDSA(hashes.SHA256())) if False else None\n    except",
        READ,
    ),
    Mutant("update_certificate_for_ever", SIGNING, "now > min(certificate", "False and now > min(certificate", READ),
)
