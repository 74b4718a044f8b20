"""TLS to an API server: whom it trusts and what it shows, as Go reads PEM and not as OpenSSL does.

``ssl`` takes a private key only by a file's name. On Linux that is a file in memory, so a key is never on disk, even if we are
killed; elsewhere one in a folder that only we can enter, for as long as the key is loaded.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.temporary import TemporaryFolder
from scheduler.kube.errors import KubeError

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


def make_context(
    authority: bytes | None, insecure: bool, pair: tuple[bytes, bytes] | None, where: str, alpn: bool = True
) -> ssl.SSLContext:
    """A context that trusts ``authority`` (PEM; None: what the system trusts) and shows ``pair``, a certificate and its key.

    Raises KubeError, beginning with ``where``, for what is no certificate or no pair.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Go looks at alternative names alone.
    context.hostname_checks_common_name = False
    # To Go every certificate that it trusts is an end of the chain, an intermediate or the server's own certificate too.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if alpn:
        context.set_alpn_protocols(["http/1.1"])
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority is not None:
        _trust(context, authority, where)
    else:
        context.load_default_certs()
    if pair is not None:
        _load_pair(context, *pair, where)
    return context


def _trust(context: ssl.SSLContext, authority: bytes, where: str) -> None:
    """Every certificate of a PEM file, whatever else it says between them; raises KubeError where there is none."""
    loaded = 0
    for block in _CERTIFICATE.findall(authority):
        try:
            context.load_verify_locations(cadata=base64.b64decode(b"".join(block.split()), validate=True))
            loaded += 1
        except (ssl.SSLError, binascii.Error, ValueError):
            continue
    if not loaded:
        raise KubeError(f"{where}: the certificate authority is not a PEM certificate")


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes, where: str) -> None:
    def refuse() -> str:
        raise KubeError(f"{where}: client-key is encrypted: a kubeconfig takes only one without a passphrase")

    with _file(certificate.rstrip() + b"\n" + key) as path:
        try:
            context.load_cert_chain(path, password=refuse)
        except (ssl.SSLError, OSError) as error:
            raise KubeError(f"{where}: client-certificate and client-key are no pair of PEM texts") from error


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    """The name of a file that holds it for as long as the block runs."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("client-key", os.MFD_CLOEXEC)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with TemporaryFolder("key") as folder:
        path = os.path.join(folder, "client.pem")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        yield path
