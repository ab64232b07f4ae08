"""Files over the network with the downloader of TensorFlow Datasets, or quickly why not.

That package takes seconds to import, and without a connection its downloader tries again for
minutes. So servers are asked first, and nothing else here imports it.
"""

from __future__ import annotations

import importlib.util
import logging
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_log = logging.getLogger(__name__)

CONNECT_SECONDS = 2.0  # for all servers together
ANSWER_SECONDS = 10.0  # of one that is connected, to begin with its answer
_PORTS = {"http": 80, "https": 443}
# Large files come after a page of HTML with a form, which the downloader reads with bs4.
_ASKS_BACK = "drive.google.com"


class TransferError(Exception):
    """Why nothing came, in words that follow a colon."""


def host_of(url: str) -> str:
    """The server's name, and its port where that is not the usual one."""
    return urlsplit(url).netloc


def check(urls: Iterable[str]) -> None:
    """Asks each server for the first of its files, without taking it.

    The proxies of the environment (``https_proxy`` and so on) are used where they are set.

    Raises:
      TransferError: one cannot be connected within `CONNECT_SECONDS`, or has no such file.
    """
    first: dict[str, str] = {}
    for url in urls:
        first.setdefault(host_of(url), url)
    outcomes: dict[str, str] = {}
    threads = {
        # Looking up a name cannot be cut short: the thread is left to itself then.
        host: threading.Thread(target=_connect, args=(host, url, outcomes), daemon=True)
        for host, url in first.items()
    }
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + CONNECT_SECONDS
    for host, thread in threads.items():
        thread.join(max(0.0, end - time.monotonic()))
        why = outcomes.get(host, f"no connection within {CONNECT_SECONDS:g} s")
        if why:
            raise TransferError(f"{host} cannot be reached ({why})")
    for host, url in first.items():
        _ask(host, url)


def download(dataset: str, urls: Sequence[str], folder: Path) -> dict[str, Path]:
    """Fetches files into some place below `folder`, each checked by its registered SHA-256.

    Progress is shown where standard error is a terminal.

    Args:
      dataset: its name in TensorFlow Datasets, which has the checksums.
      urls: as they are registered there.
      folder: where to write; what else is left in it is of no use.

    Returns:
      The path of every file by its URL.

    Raises:
      TransferError: a file does not come, or is another one than is registered.
      OSError: the folder cannot be written, or is full.
    """
    _require_form_reader(urls)
    known = registered(dataset)
    unknown = [url for url in urls if url not in known]
    if unknown:
        raise TransferError(f"tensorflow-datasets has no checksum for {unknown[0]}")
    size = sum(int(known[url].size) for url in urls)
    hosts = ", ".join(sorted(set(map(host_of, urls))))
    _log.info("%d files of %.1f MB come from %s", len(urls), size / 1e6, hosts)
    tfds = _tfds()
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    manager = tfds.download.DownloadManager(
        download_dir=folder, url_infos=dict(known), force_checksums_validation=True
    )
    return {url: _fetch(manager, url, known[url].filename) for url in urls}


def registered(dataset: str) -> Mapping[str, Any]:
    """{URL: object with ``filename``, ``size`` in bytes, ``checksum``} of a set of the package."""
    return _tfds().builder_cls(dataset).url_infos


def _tfds() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise TransferError(f"tensorflow-datasets cannot be imported ({error})") from error
    return tensorflow_datasets


def _connect(host: str, url: str, outcomes: dict[str, str]) -> None:
    """Leaves in `outcomes` why there is no connection, or an empty string."""
    try:
        with socket.create_connection(_door(url), CONNECT_SECONDS):
            outcomes[host] = ""
    except (OSError, ValueError) as error:
        outcomes[host] = getattr(error, "strerror", None) or _short(error)


def _door(url: str) -> tuple[str, int]:
    """Name and port of the server, or of the proxy on the way to it."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)


def _ask(host: str, url: str) -> None:
    # As the downloader does: the same certificates, the same proxies.
    import requests

    try:
        with requests.get(url, stream=True, timeout=ANSWER_SECONDS) as answer:
            if answer.status_code >= 400:
                raise TransferError(
                    f"{host} answers {answer.status_code} {answer.reason} when asked for {url}"
                )
    except requests.RequestException as error:
        raise TransferError(f"{host} does not answer ({_short(error)})") from error


def _require_form_reader(urls: Sequence[str]) -> None:
    if any(host_of(url) == _ASKS_BACK for url in urls) and not importlib.util.find_spec("bs4"):
        raise TransferError(
            f"{_ASKS_BACK} sends large files after a form only, and to read that beautifulsoup4 "
            "is needed (pip install beautifulsoup4)"
        )


def _fetch(manager: Any, url: str, name: str) -> Path:
    import requests
    from tensorflow_datasets.core.download import download_manager, util

    host = host_of(url)
    try:
        return Path(manager.download(url))
    except download_manager.NonMatchingChecksumError as error:
        raise TransferError(
            f"what {host} sent as {name} is not the published file: its SHA-256 differs"
        ) from error
    except (requests.RequestException, util.DownloadError, ValueError) as error:
        # ValueError: a page of Google's without the form, as it comes where too many have asked.
        raise TransferError(f"{host} did not send all of {name} ({_short(error)})") from error


def _short(error: object) -> str:
    """The innermost message, in one line."""
    found = error
    while isinstance(found, Exception) and found.args:
        found = found.args[0]
    return " ".join(str(found).split())[:200] or type(error).__name__
