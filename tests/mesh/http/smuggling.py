"""Requests that are refused: (what it is, the status, its head). The known ways to smuggle one past a proxy."""

from __future__ import annotations

H = b"Host: shop\r\n"


def _post(*headers: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\n" + H + b"".join(header + b"\r\n" for header in headers) + b"\r\n"


def _get(first: bytes, *headers: bytes) -> bytes:
    return first + b"\r\n" + b"".join(header + b"\r\n" for header in headers or (b"Host: shop",)) + b"\r\n"


REFUSED: list[tuple[str, int, bytes]] = [
    ("both_lengths", 400, _post(b"Content-Length: 4", b"Transfer-Encoding: chunked")),
    ("both_lengths_other_order", 400, _post(b"Transfer-Encoding: chunked", b"Content-Length: 4")),
    ("two_lengths", 400, _post(b"Content-Length: 4", b"Content-Length: 5")),
    ("two_equal_lengths", 400, _post(b"Content-Length: 4", b"Content-Length: 4")),
    ("length_list", 400, _post(b"Content-Length: 4, 4")),
    ("length_plus", 400, _post(b"Content-Length: +4")),
    ("length_minus", 400, _post(b"Content-Length: -4")),
    ("length_hex", 400, _post(b"Content-Length: 0x4")),
    ("length_space", 400, _post(b"Content-Length: 4 4")),
    ("length_empty", 400, _post(b"Content-Length:")),
    ("length_word", 400, _post(b"Content-Length: four")),
    ("length_underscore", 400, _post(b"Content-Length: 1_0")),
    ("length_too_large", 400, _post(b"Content-Length: 99999999999999999999")),
    ("length_other_digits", 400, _post("Content-Length: ٤".encode())),
    ("coding_unknown", 400, _post(b"Transfer-Encoding: gzip")),
    ("coding_not_last", 400, _post(b"Transfer-Encoding: chunked, identity")),
    ("coding_before", 400, _post(b"Transfer-Encoding: gzip, chunked")),
    ("coding_twice", 400, _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    ("coding_prefix", 400, _post(b"Transfer-Encoding: xchunked")),
    ("coding_quoted", 400, _post(b'Transfer-Encoding: "chunked"')),
    ("coding_vertical_tab", 400, _post(b"Transfer-Encoding: \x0bchunked")),
    ("coding_parameter", 400, _post(b"Transfer-Encoding: chunked;q=1")),
    ("coding_of_an_old_client", 400, b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n"),
    ("space_before_colon", 400, _post(b"Transfer-Encoding : chunked")),
    ("tab_before_colon", 400, _post(b"Content-Length\t: 4")),
    ("folded_line", 400, _post(b"X: a", b" Transfer-Encoding: chunked")),
    ("folded_first_header", 400, b"GET / HTTP/1.1\r\n Host: shop\r\n\r\n"),
    ("bare_line_feed", 400, b"GET / HTTP/1.1\r\nHost: shop\nX: y\r\n\r\n"),
    ("bare_return", 400, b"GET / HTTP/1.1\r\nHost: shop\rX: y\r\n\r\n"),
    ("bare_line_feed_after_the_first_line", 400, b"GET / HTTP/1.1\nHost: shop\r\n\r\n"),
    ("nul_in_a_value", 400, _get(b"GET / HTTP/1.1", b"Host: shop", b"X: a\0b")),
    ("nul_in_a_name", 400, _get(b"GET / HTTP/1.1", b"Host: shop", b"X\0: a")),
    ("no_name", 400, _get(b"GET / HTTP/1.1", b"Host: shop", b": a")),
    ("no_colon", 400, _get(b"GET / HTTP/1.1", b"Host: shop", b"nothing")),
    ("no_host", 400, b"GET / HTTP/1.1\r\nX: a\r\n\r\n"),
    ("two_hosts", 400, _get(b"GET / HTTP/1.1", b"Host: shop", b"Host: other")),
    ("host_with_a_path", 400, _get(b"GET / HTTP/1.1", b"Host: shop/x")),
    ("host_with_a_space", 400, _get(b"GET / HTTP/1.1", b"Host: shop other")),
    ("host_with_an_at", 400, _get(b"GET / HTTP/1.1", b"Host: a@shop")),
    ("host_list", 400, _get(b"GET / HTTP/1.1", b"Host: shop,other:x")),
    ("another_host_in_the_target", 400, _get(b"GET http://other/ HTTP/1.1")),
    ("another_port_in_the_target", 400, _get(b"GET http://shop:81/ HTTP/1.1")),
    ("a_user_in_the_target", 400, _get(b"GET http://u@shop/ HTTP/1.1", b"Host: u@shop")),
    ("target_without_a_slash", 400, _get(b"GET admin HTTP/1.1")),
    ("star_of_a_get", 400, _get(b"GET * HTTP/1.1")),
    ("target_with_a_fragment", 400, _get(b"GET /#x HTTP/1.1")),
    ("target_with_a_space", 400, _get(b"GET /a b HTTP/1.1")),
    ("target_with_a_tab", 400, _get(b"GET /a\tb HTTP/1.1")),
    ("target_not_ascii", 400, _get(b"GET /\xc3\xa4 HTTP/1.1")),
    ("target_with_nul", 400, _get(b"GET /\0 HTTP/1.1")),
    ("no_target", 400, _get(b"GET HTTP/1.1")),
    ("two_spaces", 400, _get(b"GET  / HTTP/1.1")),
    ("space_at_the_end", 400, _get(b"GET / HTTP/1.1 ")),
    ("lower_case_method", 400, _get(b"get / HTTP/1.1")),
    ("odd_method", 400, _get(b"G(T / HTTP/1.1")),
    ("long_method", 400, _get(b"G" * 40 + b" / HTTP/1.1")),
    ("lower_case_version", 400, _get(b"GET / http/1.1")),
    ("odd_version", 400, _get(b"GET / HTTP/1.1.1")),
    ("minor_version_2", 400, _get(b"GET / HTTP/1.2")),
    ("version_0", 400, _get(b"GET /")),
    ("version_2", 505, _get(b"PRI * HTTP/2.0")),
    ("version_3", 505, _get(b"GET / HTTP/3.0")),
    ("connect", 405, _get(b"CONNECT shop:443 HTTP/1.1")),
    ("connect_path", 405, _get(b"CONNECT / HTTP/1.1")),
    ("other_expectation", 417, _post(b"Expect: 200-ok")),
    ("connection_names_host", 400, _get(b"GET / HTTP/1.1", b"Host: shop", b"Connection: close, Host")),
    ("connection_names_length", 400, _post(b"Content-Length: 4", b"Connection: Content-Length")),
    ("connection_names_authorization", 400, _post(b"Authorization: x", b"Connection: authorization")),
    ("too_many_headers", 431, _get(b"GET / HTTP/1.1", b"Host: shop", *[b"X: y"] * 101)),
]

UNFINISHED: list[tuple[str, int, bytes]] = [
    ("line_feeds_only", 400, b"GET / HTTP/1.1\nHost: shop\n\n"),
    ("a_line_feed_alone", 400, b"GET / HTTP/1.1\r\nHost: shop\nX:"),
    ("a_return_alone", 400, b"GET / HTTP/1.1\rHost"),
    ("nul", 400, b"GET /\0"),
    ("too_long", 431, b"GET / HTTP/1.1\r\nX: " + b"a" * 17_000),
]
