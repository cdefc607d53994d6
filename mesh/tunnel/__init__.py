"""Streams between gateways: mutually authenticated TLS 1.3, one connection for each stream.

    caller  ──TLS──> callee ──TCP──> endpoint on the callee's node           addresses are reachable
    caller  ──TLS──> relay <──TLS── callee, and the same TLS inside of that  they are not

On a line every frame is a length (2 bytes) and a body: first what the caller asks for, then the answer, both JSON;
then bytes, and an empty frame for the end of a direction. A line that breaks without both ends was a reset.
"""
