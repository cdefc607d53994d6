"""One session with a server: opened with the security that the settings ask for; its errors as errors of ours."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.shortcuts import Shortcuts
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua.status_codes import StatusCodes as Codes
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from mappers.opcua.certificates import OwnCertificate, check_server, own_certificate, pki_folder
from mappers.opcua.config import OpcuaConnection, SecurityMode, SecurityPolicy
from mappers.opcua.publish import WindowedSession
from mappers.sdk import DeviceTimeout, MapperError, NotConnected, Within, check_cancelled

_POLICIES: Final[dict[SecurityPolicy, Any]] = {
    SecurityPolicy.BASIC256SHA256: security_policies.SecurityPolicyBasic256Sha256,
    SecurityPolicy.AES128: security_policies.SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicy.AES256: security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_MODES: Final = {
    SecurityMode.NONE: ua.MessageSecurityMode.None_,
    SecurityMode.SIGN: ua.MessageSecurityMode.Sign,
    SecurityMode.SIGN_AND_ENCRYPT: ua.MessageSecurityMode.SignAndEncrypt,
}
_LOST: Final = frozenset(
    {
        Codes.BadSessionIdInvalid,
        Codes.BadSessionClosed,
        Codes.BadSessionNotActivated,
        Codes.BadSecureChannelClosed,
        Codes.BadSecureChannelIdInvalid,
        Codes.BadSecureChannelTokenUnknown,
        Codes.BadConnectionClosed,
        Codes.BadConnectionRejected,
        Codes.BadServerHalted,
        Codes.BadShutdown,
        Codes.BadServerNotConnected,
        Codes.BadCommunicationError,
        Codes.BadNotConnected,
    }
)
_LOGIN_REFUSED: Final = frozenset(
    {Codes.BadUserAccessDenied, Codes.BadIdentityTokenRejected, Codes.BadIdentityTokenInvalid}
)
_CERTIFICATE_REFUSED: Final = frozenset(
    {
        Codes.BadCertificateUntrusted,
        Codes.BadSecurityChecksFailed,
        Codes.BadCertificateInvalid,
        Codes.BadCertificateUriInvalid,
        Codes.BadCertificateTimeInvalid,
        Codes.BadCertificateUseNotAllowed,
        Codes.BadCertificateChainIncomplete,
    }
)
_CLOSE_S: Final = 0.7
_NAME: Final = "edgetwin"


class Session:
    """An open session. Calls of ``session`` go through ``asking``, which names what failed."""

    def __init__(self, config: OpcuaConnection, on_lost: Callable[[str], None]) -> None:
        self._config = config
        self._on_lost = on_lost
        self._client: Client | None = None
        self._session: WindowedSession | None = None
        self._is_open = False

    @property
    def client(self) -> Client:
        """Asyncua's client. Raises NotConnected."""
        if self._client is None or not self._is_open:
            raise self._gone()
        return self._client

    @property
    def session(self) -> WindowedSession:
        """Asyncua's session. Raises NotConnected."""
        if self._session is None or not self._is_open:
            raise self._gone()
        return self._session

    def check_open(self) -> None:
        """Raise NotConnected if there is no session."""
        if self._session is None or not self._is_open:
            raise self._gone()

    async def open(self) -> None:
        """Connect, make the channel secure, log in. Raises NotConnected saying what is wrong and what to do."""
        library_log = logging.getLogger("asyncua")
        if library_log.level == logging.NOTSET:
            library_log.setLevel(logging.CRITICAL + 1)  # what it logs as errors is raised by us, once, with the place
        own: OwnCertificate | None = None
        try:
            client = self._client = self._new_client()
            if self._config.security_policy is not SecurityPolicy.NONE:
                own = await self._secure(client)
            await self._log_in(client)
            await client.connect()
            check_cancelled()
            self._is_open = True
        except MapperError:
            raise
        except UaStatusCodeError as error:
            check_cancelled()
            raise self._refused(error, own) from error
        except (UaError, OSError, TimeoutError, ValueError, TypeError) as error:
            check_cancelled()  # asyncua swallows it, or makes it an error of its own
            raise self.not_connected(_said(error)) from error
        finally:
            if not self._is_open:
                self._drop()

    async def close(self) -> None:
        """Let go of the session and the socket, with a goodbye if there is still somebody."""
        client, was_open = self._client, self._is_open
        self._is_open = False
        if client is None:
            return
        try:
            if was_open:
                async with Within(_CLOSE_S):
                    await client.disconnect()
        except (UaError, OSError, TimeoutError):
            pass
        finally:
            self._drop()
        check_cancelled()

    def error(self, error: Exception, what: str) -> MapperError:
        """What a failed call means to the runner."""
        if isinstance(error, MapperError):
            return error
        where = f"OPC UA at {self._config.url}: {what}"
        if isinstance(error, UaStatusCodeError):
            if error.code in _LOST:
                return self.not_connected(f"{what}: {name_of(error.code)}")
            if error.code in (Codes.BadTimeout, Codes.BadRequestTimeout):
                return DeviceTimeout(f"{where}: {name_of(error.code)}")
            return MapperError(f"{where}: the server answered {name_of(error.code)}")
        if isinstance(error, TimeoutError):
            return DeviceTimeout(f"{where}: no answer in {self._config.timeout_ms} ms")
        if isinstance(error, OSError):
            return self.not_connected(f"{what}: {_said(error)}")
        return MapperError(f"{where}: {_said(error)}")

    def not_connected(self, cause: str, remedy: str = "") -> NotConnected:
        """The connection is not there."""
        remedy = remedy or "Check that the server is up and takes OPC UA over TCP on this port."
        return NotConnected(f"OPC UA at {self._config.url}: {cause}", remedy=remedy)

    def _gone(self) -> NotConnected:
        return self.not_connected(cause="the connection is gone")

    def _new_client(self) -> Client:
        config = self._config
        client = Client(config.url, timeout=config.timeout_ms / 1000, watchdog_intervall=config.keep_alive_ms / 1000)
        self._session = client.uaclient.session = WindowedSession(client.uaclient)
        client.nodes = Shortcuts(client.uaclient.session)
        client.name = client.description = _NAME
        client.application_uri = f"urn:{socket.gethostname()}:edgetwin:opcua"
        client.product_uri = "urn:edgetwin"
        client.session_timeout = config.session_timeout_ms
        client.connection_lost_callback = self._lost
        return client

    async def _lost(self, error: Exception) -> None:
        if self._is_open:
            self._on_lost(_said(error))

    async def _secure(self, client: Client) -> OwnCertificate:
        config = self._config
        pki = pki_folder(config.pki)
        own = await asyncio.to_thread(own_certificate, pki, config.certificate, config.private_key)
        shown = await self._server_certificate(client)
        if not config.trust_any_server:
            await asyncio.to_thread(check_server, shown, pki, config.url, config.server_certificate)
        client.application_uri = own.uri or client.application_uri
        await client.set_security(
            _POLICIES[config.security_policy],
            CertProperties(own.certificate),
            CertProperties(own.private_key),
            server_certificate=CertProperties(shown, "der"),
            mode=_MODES[config.mode],
        )
        return own

    async def _server_certificate(self, client: Client) -> bytes:
        """Certificate that the server shows for the endpoint we want. Raises NotConnected if it has none."""
        config = self._config
        wanted = (_MODES[config.mode], _POLICIES[config.security_policy].URI)
        endpoints = await client.connect_and_get_server_endpoints()
        for endpoint in endpoints:
            if (endpoint.SecurityMode, endpoint.SecurityPolicyUri) == wanted and endpoint.ServerCertificate:
                return _first_of_chain(endpoint.ServerCertificate)
        offers = {
            f"{str(endpoint.SecurityPolicyUri).rpartition('#')[2]} {endpoint.SecurityMode.name.rstrip('_')}"
            for endpoint in endpoints
        }
        cause = f"no endpoint with {config.security_policy} {config.mode}; it offers {', '.join(sorted(offers))}"
        raise self.not_connected(cause, "Choose securityPolicy and securityMode from what it offers.")

    async def _log_in(self, client: Client) -> None:
        config = self._config
        if config.user:
            client.set_user(config.user)
            client.set_password(await asyncio.to_thread(self._password))
        if config.user_certificate:
            try:
                await client.load_client_certificate(config.user_certificate)
                await client.load_private_key(Path(config.user_key))
            except (OSError, ValueError, TypeError) as error:
                cause = f"the login with {config.user_certificate}: {_said(error)}"
                raise self.not_connected(cause, "Correct userCertificate and userKey (PEM or DER).") from error

    def _password(self) -> str:
        config = self._config
        if not config.password_file:
            return config.password.get_secret_value()
        try:
            return Path(config.password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            cause = f"passwordFile {config.password_file}: {error}"
            raise self.not_connected(cause, "Make the file readable for the gateway.") from error

    def _refused(self, error: UaStatusCodeError, own: OwnCertificate | None) -> NotConnected:
        name, config = name_of(error.code), self._config
        if error.code in _LOGIN_REFUSED:
            who = f"user {config.user!r}" if config.user else config.user_certificate or "anonymous"
            remedy = "Correct user and password (or userCertificate), or let the server take this login."
            return self.not_connected(f"the server refused the login as {who}: {name}", remedy)
        if own is not None and error.code in _CERTIFICATE_REFUSED:
            remedy = f"Have the server trust {own.certificate}, often by moving it from its rejected folder."
            return self.not_connected(f"the server refused our certificate: {name}", remedy)
        return self.not_connected(f"the server answered {name}")

    def _drop(self) -> None:
        client, self._client, self._session = self._client, None, None
        if client is not None:
            # A connect that was cancelled leaves asyncua's own tasks running.
            for task in (client._supervisor_task, client._stale_watchdog_task, client._renew_channel_task):  # noqa: SLF001
                if task is not None:
                    task.cancel()
            protocol = client.uaclient.protocol
            client.disconnect_socket()
            if protocol is not None and protocol.transport is not None:
                protocol.transport.abort()  # asyncua leaves one open on which it could not read a message


def name_of(code: int) -> str:
    """Name of a status code."""
    return str(ua.StatusCode(ua.UInt32(code)).name)


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer"
    return str(error) or type(error).__name__


def _first_of_chain(der: bytes) -> bytes:
    """A server may append those who signed: the outer sequence's length says where its own certificate ends."""
    return der[: int.from_bytes(der[2:4], "big") + 4]
