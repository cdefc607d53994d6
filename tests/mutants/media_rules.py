"""The rules of images, packages and their way onto disks, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

MEDIA, PLACED, VENDOR, TEXTS, DEB, RUN, PROVISION = (
    f"tests/hardware/test_{name}.py"
    for name in ("media", "flash_provision", "vendor", "vendor_files", "deb", "run", "provision")
)

MEDIA_MUTANTS = (
    Mutant("media_second_fat_is_left", "hardware.media.fat", "range(self._shape.fats)", "range(1)", (MEDIA,)),
    Mutant(
        "media_clusters_of_the_old_file_are_lost",
        "hardware.media.fat",
        "            self._free(found.cluster)\n",
        "            pass\n",
        (MEDIA,),
    ),
    Mutant("media_free_clusters_are_not_counted", "hardware.media.fat", "self._count_free(-count)", "pass", (MEDIA,)),
    Mutant(
        "media_gpt_is_read_as_mbr",
        "hardware.media.table",
        "if any(kind == _PROTECTIVE for _, kind, _, _ in entries):",
        "if False:",
        (MEDIA,),
    ),
    Mutant(
        "place_what_is_changed_is_not_checked",
        "hardware.flash.place",
        ".hexdigest() != one.sha256:\n",
        ".hexdigest() == '':\n",
        (PLACED,),
    ),
    Mutant(
        "place_changed_ranges_keep_their_hash",
        "hardware.flash.place",
        "kept = (one for one in block_map.ranges if one not in touched)",
        "kept, remade = block_map.ranges, remade[:0]",
        (PLACED,),
    ),
    Mutant(
        "place_any_version_is_taken",
        "hardware.flash.work",
        "if file.said.version not in versions:",
        "if False:",
        (PLACED,),
    ),
    Mutant("place_used_tokens_are_taken", "hardware.flash.work", "and file.said.cloud.used:", "and False:", (PLACED,)),
    Mutant("place_a_manifest_of_another_image", "hardware.flash.work", "    if not same:", "    if False:", (PLACED,)),
    Mutant(
        "vendor_consoles_stay_on_ports",
        "hardware.vendor.files",
        "if not _SERIAL_CONSOLE.match(one)]",
        "if one]",
        (TEXTS,),
    ),
    Mutant(
        "vendor_configuration_grows",
        "hardware.vendor.files",
        '    kept = re.sub(rf"\\n?{_BEGIN}\\n.*?{_END}\\n", "", text, flags=re.DOTALL)\n',
        "    kept = text\n",
        (TEXTS,),
    ),
    Mutant(
        "vendor_number_of_a_group_is_taken",
        "hardware.vendor.files",
        "for text in (passwd, group) for line",
        "for text in (passwd, passwd) for line",
        (TEXTS,),
    ),
    Mutant(
        "vendor_removed_packages_count",
        "hardware.vendor.packages",
        'fields.get("Status", "").endswith(" installed") and ',
        "",
        (TEXTS,),
    ),
    Mutant("vendor_any_size_is_unpacked", "hardware.vendor.unpack", "if done > limit_bytes:", "if False:", (TEXTS,)),
    Mutant("vendor_roots_are_never_enlarged", "hardware.vendor.adapt", "if lacking > 0 or room", "if room", (VENDOR,)),
    Mutant(
        "vendor_the_table_is_not_told",
        "hardware.vendor.adapt",
        "length // SECTOR_BYTES))",
        "root.length // SECTOR_BYTES))",
        (VENDOR,),
    ),
    Mutant(
        "vendor_owners_are_lost", "hardware.vendor.adapt", "uid=there.uid, gid=there.gid", "uid=0, gid=0", (VENDOR,)
    ),
    Mutant("deb_previews_come_last", "hardware.debian.files", 'r"~\\1", release)', 'r"\\1", release)', (DEB,)),
    Mutant("deb_whoever_builds_is_seen", "hardware.debian.package", "    _plain_modes(root)\n", "", (DEB,)),
    Mutant(
        "deb_settings_speak",
        "hardware.debian.files",
        '"".join(f"# {line}".rstrip()',
        '"".join(f"{line}".rstrip()',
        (DEB,),
    ),
    Mutant("run_old_reports_count", "hardware.run.report", "if event.initial or ", "if ", (RUN,)),
    Mutant(
        "run_other_gateways_count",
        "hardware.run.report",
        "if event.body.gateway == gateway or",
        "if event.body.gateway or",
        (RUN,),
    ),
    Mutant(
        "run_stale_images_are_taken",
        "hardware.image.keep",
        "manifest.inputs == spec",
        "manifest.inputs or spec",
        (RUN,),
    ),
    Mutant("run_half_images_are_taken", "hardware.image.keep", "if whole and same", "if same", (RUN,)),
    Mutant(
        "run_guests_reach_this_machine_by_its_own_name",
        "hardware.run.cli",
        "if host.lower() in _LOOPBACK or",
        "if",
        (RUN,),
    ),
    Mutant(
        "provision_settings_of_somebody_are_lost",
        "hardware.provision.apply",
        'line.lstrip().startswith("#") for line',
        "line.lstrip() for line",
        (PROVISION,),
    ),
)
