# ruff: noqa: E501  # texts of other files, as they stand there
"""Who may come to the cloud, each rule broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

IDENTITIES, CA, LINKS = (
    "tests/cloudsync/identity/test_identities.py",
    "tests/cloudsync/identity/test_ca.py",
    "tests/cloudsync/test_links.py",
)
ACCESS, CERTIFICATES, REVOCATION = (
    f"tests/cloudsync/brokers/test_{name}.py" for name in ("access", "certificates", "revocation")
)

IDENTITY_MUTANTS = (
    Mutant("token_used_twice", "cloudsync.identity.sql_store", "token.used_at and not again", "False", (IDENTITIES,)),
    Mutant("token_for_ever", "cloudsync.identity.sql_store", "token.expires_at <= at", "False", (IDENTITIES,)),
    Mutant(
        "token_after_revocation",
        "cloudsync.identity.sql_store",
        "    elif token.revoked_at:\n",
        "    elif False:\n",
        (IDENTITIES,),
    ),
    Mutant(
        "token_for_anyone", "cloudsync.identity.sql_store", 'token.gateway not in ("", name)', "False", (IDENTITIES,)
    ),
    Mutant(
        "name_taken_over",
        "cloudsync.identity.sql_store",
        "or not (again or (token and token.gateway == name))",
        "or False",
        (IDENTITIES,),
    ),
    Mutant(
        "replaced_gateway_stays",
        "cloudsync.identity.sql_store",
        '            await _revoke_certificates(session, name, at)\n            await session.fetch(\n                "INSERT',
        '            await session.fetch(\n                "INSERT',
        (IDENTITIES,),
    ),
    Mutant("revoked_renews", "cloudsync.identity.service", "elif kept.revoked_at:", "elif False:", (IDENTITIES,)),
    Mutant(
        "renewal_without_the_key",
        "cloudsync.identity.service",
        "elif not is_signed_renewal(certificate, asked.csr, asked.signature):",
        "elif False:",
        (IDENTITIES,),
    ),
    Mutant(
        "no_end_of_grace",
        "cloudsync.identity.service",
        "elif now > ends_at + self._lives.grace_days * DAY_MS:",
        "elif False:",
        (IDENTITIES,),
    ),
    Mutant(
        "no_grace",
        "cloudsync.identity.service",
        "now > ends_at + self._lives.grace_days * DAY_MS",
        "now > ends_at",
        (IDENTITIES,),
    ),
    Mutant("name_of_the_request", "cloudsync.identity.ca", "    if asked != name:\n", "    if False:\n", (CA,)),
    Mutant("any_curve", "cloudsync.identity.ca", "or not isinstance(key.curve, ec.SECP256R1)", "or False", (CA,)),
    Mutant(
        "server_as_client",
        "cloudsync.identity.ca",
        "[ExtendedKeyUsageOID.SERVER_AUTH], hosts",
        "[ExtendedKeyUsageOID.CLIENT_AUTH], hosts",
        (CA, CERTIFICATES),
    ),
    Mutant(
        "client_id_of_choice",
        "cloudsync.mosquitto_conf",
        "use_username_as_clientid {_word(listener.named)}",
        "use_username_as_clientid false",
        (CERTIFICATES,),
    ),
    Mutant("no_revocation_list", "cloudsync.mosquitto_conf", "crlfile {listener.revoked}\n", "", (CERTIFICATES,)),
    Mutant(
        "one_authority_for_both",
        "cloudsync.brokers",
        "GATEWAYS if self.named else USERS), run",
        "GATEWAYS), run",
        (CERTIFICATES,),
    ),
    Mutant(
        "no_kick",
        "cloudsync.brokers",
        "            await accepts(LOOPBACK, self.place.inner_port, keeper, client)\n",
        "            pass\n",
        (REVOCATION,),
    ),
    Mutant("not_reread", "cloudsync.brokers", "self._runner.send(signal.SIGHUP)", "pass", (REVOCATION,)),
    Mutant(
        "revoked_user_keeps_its_rules",
        "cloudsync.access",
        "one.kind is AccountKind.USER and one.active and",
        "one.kind is AccountKind.USER and",
        ("tests/cloudsync/test_cloud_settings.py",),
    ),
    Mutant(
        "gateway_reads_all_down",
        "cloudsync.access",
        "Rule(TopicAccess.READ, topics.sync_down(name))",
        'Rule(TopicAccess.READ, topics.sync_down("+"))',
        (ACCESS,),
    ),
    Mutant(
        "viewer_sets", "cloudsync.identity.roles", "Role.VIEWER: _READS", "Role.VIEWER: (*_READS, *_WRITES)", (ACCESS,)
    ),
    Mutant(
        "down_to_the_last_shard_for_ever",
        "cloudsync.links",
        "self._monotonic_s() - heard[1] < HEARD_S",
        "True",
        (LINKS,),
    ),
)
