"""The API server of the tests ends when it is told to, whoever is dialling it just then."""

import contextlib
import gc
import socket
import ssl
import threading

import pytest

from tests.kube_server.server import KubeServer

DIALLERS = 6
CONNECTIONS = 30


# Python 3.11 leaves a socket open whose peer has gone before the handshake: wrap_socket raises and closes nothing.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_clients_in_the_middle_of_their_handshake_do_not_keep_it():
    with KubeServer() as server, contextlib.ExitStack() as connected:
        trust = ssl.create_default_context(cafile=str(server.ca))
        watch = (
            f"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode()
        )
        ended = threading.Event()
        made = threading.Semaphore(0)

        def dial():
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    plain = connected.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
                    secure = trust.wrap_socket(plain, server_hostname="127.0.0.1")
                    connected.enter_context(secure).sendall(watch)
                    made.release()

        diallers = [threading.Thread(target=dial) for _ in range(DIALLERS)]
        for one in diallers:
            one.start()
        for _ in range(CONNECTIONS):
            assert made.acquire(timeout=30)
        try:
            server.stop()  # fails after 30 s
        finally:
            ended.set()
            for one in diallers:
                one.join()
        gc.collect()  # here, and not in another test
