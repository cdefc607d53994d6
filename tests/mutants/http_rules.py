"""The rules of HTTP in the mesh, each broken on purpose; see rules.py."""

from tests.mutants.mutant import Mutant

HEAD, FIELDS, BODY = "mesh.planes.http.head", "mesh.planes.http.fields", "mesh.planes.http.body"
MATCHER, ONWARD, STALE = "mesh.planes.http.matcher", "mesh.planes.http.onward", "mesh.planes.http.stale"
HEADS = ("tests/mesh/http/test_head.py",)
BODIES = ("tests/mesh/http/test_body.py",)
MATCHED = ("tests/mesh/http/test_matcher.py",)
SENT_ON = ("tests/mesh/http/test_onward.py",)
KEPT = ("tests/mesh/http/test_policies.py",)

HTTP_MUTANTS = (
    # What is a head.
    Mutant("both_lengths_are_fine", HEAD, "        if lengths is not None:\n", "        if False:\n", HEADS),
    Mutant("two_lengths_are_fine", HEAD, "if len(lengths) > 1 or not", "if not", HEADS),
    Mutant("any_coding", HEAD, '!= [b"chunked"]', "== []", HEADS),
    Mutant("old_clients_chunk", HEAD, "if not minor or [coding", "if [coding", HEADS),
    Mutant("two_hosts_are_fine", HEAD, "if len(hosts) > 1 or (not hosts and minor):", "if not hosts and minor:", HEADS),
    Mutant("no_host_is_fine", HEAD, "len(hosts) > 1 or (not hosts and minor)", "len(hosts) > 1", HEADS),
    Mutant("any_host_in_the_target", HEAD, "if named is not None and found[1]", "if False and found[1]", HEADS),
    Mutant("tunnels_for_all", HEAD, 'if method == b"CONNECT":', "if False:", HEADS),
    Mutant("connection_may_name_anything", HEAD, "if options & _NEVER_NAMED:", "if False:", HEADS),
    Mutant("any_expectation", HEAD, '!= [b"100-continue"]', "== []", HEADS),
    Mutant("heads_without_end", HEAD, "if len(head) > MAX_HEAD_BYTES:", "if False:", HEADS),
    Mutant("headers_without_end", FIELDS, "if len(fields) > MAX_HEADERS:", "if False:", HEADS),
    Mutant("no_empty_line", FIELDS, 'if block[-4:] != b"\\r\\n\\r\\n":', "if False:", HEADS),
    Mutant("spaces_before_the_colon", FIELDS, "A-Za-z]++):", "A-Za-z]++ *):", HEADS),
    Mutant("lines_tried_twice", FIELDS, "[\\t ]*+([", "[\\t ]*([", HEADS),
    Mutant("lone_line_ends_may_come", HEAD, "if _LONE_LINE_END.search(head) or", "if", HEADS),
    Mutant("no_content_has_a_body", HEAD, "response.status in (204, 304)", "response.status in (304,)", HEADS),
    # Where a body ends.
    Mutant("line_feeds_end_chunks", BODY, 'if line[-2:] != b"\\r\\n":', "if False:", BODIES),
    Mutant("chunks_may_be_longer", BODY, "            if line:\n", "            if False:\n", BODIES),
    Mutant("size_lines_without_end", BODY, "if len(line) > (", "if len(line) > 10**9 + (", BODIES),
    Mutant("any_trailer_travels", BODY, "if found[1].lower() not in _NOT_IN_TRAILERS:", "if True:", BODIES),
    Mutant("trailers_without_end", BODY, "or self._trailer_bytes > MAX_HEAD_BYTES", "", BODIES),
    Mutant("the_rest_is_lost", BODY, "self.rest = piece[at:]", 'self.rest = b""', BODIES),
    # Which rule.
    Mutant("prefixes_by_letters", MATCHER, "prefixes.get(path[:end])", "prefixes.get(path[:end + 1])", MATCHED),
    Mutant("prefixes_hide_shorter", MATCHER, "_in_order(shorter, prefixes[prefix])", "prefixes[prefix]", MATCHED),
    Mutant("exact_paths_hide_prefixes", MATCHER, "_in_order(self._under(path), some)", "some", MATCHED),
    Mutant("the_later_rule_counts", MATCHER, "sorted(some + more, key=_order)", "more + some", MATCHED),
    Mutant("wildcards_for_their_own_name", MATCHER, "if dot and (wild", "if (wild", MATCHED),
    Mutant("wildcards_are_names", MATCHER, '"\\0" + name[1:]', '"x" + name[1:]', MATCHED),
    Mutant("any_method", MATCHER, "(not candidate.method or candidate.method == method)", "True", MATCHED),
    Mutant(
        "the_last_parameter_counts", MATCHER, 'lstrip(b"?").split(b"&"):', 'lstrip(b"?").split(b"&")[::-1]:', MATCHED
    ),
    # What is sent on.
    Mutant("filters_move_the_end", ONWARD, "if field.name not in _FRAMING]", "]", SENT_ON),
    Mutant("values_begin_lines", ONWARD, '.translate(None, b"\\r\\n\\0")', "", SENT_ON),
    Mutant("prefixes_stay", ONWARD, "path[len(prefix) :]", "path", SENT_ON),
    Mutant("ports_are_always_said", ONWARD, "if port and port != _PORTS.get(scheme):", "if port:", SENT_ON),
    Mutant("the_port_stays_with_another_scheme", ONWARD, "(0 if redirect.scheme else", "(", SENT_ON),
    # What is kept to be given later.
    Mutant("private_answers_are_kept", STALE, 'and b"private" not in control', "", KEPT),
    Mutant("personal_answers_are_kept", STALE, "or any(head.value(name) is not None for name in _PERSONAL)", "", KEPT),
    Mutant("one_answer_for_all_tongues", STALE, "tuple(head.value(name) for name in _VARYING)", "()", KEPT),
)
