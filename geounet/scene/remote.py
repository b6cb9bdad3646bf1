"""Scenes that lie elsewhere: addresses as GDAL wants them, its settings, and small documents."""

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import rasterio
import requests
from rasterio.errors import RasterioError

from geounet.errors import SceneError

logger = logging.getLogger(__name__)
T = TypeVar("T")

GDAL_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # A busy server (429, 500, 502, 503, 504) or a broken connection is asked again, after half
        # a second, one, two; GDAL's own default is not at all.
        "GDAL_HTTP_MAX_RETRY": "3",
        "GDAL_HTTP_RETRY_DELAY": "0.5",
        # GDAL waits for ever by default. There is no limit to a whole request (GDAL_HTTP_TIMEOUT),
        # because a slow line is no fault; one on which nothing comes is.
        "GDAL_HTTP_CONNECTTIMEOUT": "15",
        "GDAL_HTTP_LOW_SPEED_TIME": "30",
        "GDAL_HTTP_LOW_SPEED_LIMIT": "100",
        # Blocks that lie one after the other come in one request instead of one each.
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        # The header of a COG, its tables of blocks included, in the first request.
        "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    }
)
"""What GDAL is told about reading over a network; the environment's own settings count more."""

DOCUMENT_LIMIT = 64 * 2**20
"""Bytes of a document: more is not metadata."""
CHUNK = 2**16

_VIRTUAL = {
    "http": "/vsicurl/http://",
    "https": "/vsicurl/https://",
    "ftp": "/vsicurl/ftp://",
    "s3": "/vsis3/",
    "gs": "/vsigs/",
    "az": "/vsiaz/",
}
"""What GDAL has in place of `scheme://`."""
_REMOTE_FILESYSTEMS = re.compile(r"/vsi(?:curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)[/?_]")
_ABFS = re.compile(r"(?i)abfss?://(?P<container>[^@/]+)@(?P<account>[^./]+)\.[^/]+/(?P<path>.+)")
_RETRIED = frozenset([408, 429, 500, 502, 503, 504])


def is_remote(source: str) -> bool:
    """Return whether a source is read over a network: a URL, or one of GDAL's file systems."""
    if source.startswith("/vsi"):
        return _REMOTE_FILESYSTEMS.search(source) is not None
    return _scheme(source) in _VIRTUAL or _ABFS.match(source) is not None


def _scheme(source: str) -> str:
    before, separator, _ = source.partition("://")
    return before.lower() if separator else ""


def to_gdal(href: str) -> str:
    """Return what GDAL opens for a link; signed URLs keep their query.

    Args:
        href: A URL, a `file://` link, or anything else, which is returned as it is.
    """
    scheme = _scheme(href)
    if scheme == "file":
        return unquote(urlsplit(href).path)
    if match := _ABFS.match(href):
        # GDAL takes the account from AZURE_STORAGE_ACCOUNT; it is the same one in all links.
        return f"/vsiaz/{match['container']}/{match['path']}"
    if scheme not in _VIRTUAL:
        return href
    rest = href.partition("://")[2]
    # curl refuses a space, which browsers and catalogues let pass.
    return _VIRTUAL[scheme] + (rest.replace(" ", "%20") if "curl" in _VIRTUAL[scheme] else rest)


def without_query(url: str) -> str:
    """Return an address for people: as it was given, without the signature or password in it.

    Those would be a key to the data, and errors and records are handed around. What is no address
    is returned as it is.
    """
    if not is_remote(url):
        return url
    for scheme, prefix in _VIRTUAL.items():
        if url.startswith(prefix):
            url = f"{scheme}://{url.removeprefix(prefix)}"
    return _USER.sub("//", url.partition("?")[0], count=1)


_USER = re.compile(r"//[^/\s'\"]*@")
"""Name and password before a host; either may have an @ in it."""
_QUERY = re.compile(
    r"(?P<url>[a-z][a-z0-9+.-]*://[^\s'\"?]*)\?[^\s'\"<>]*"  # of an address, whatever it is
    r"|\?(?=[\w.%~-]+=)[^\s'\"<>]*"  # of what GDAL leaves of one: `x.tif?sv=1&sig=…`
)


def scrub(text: str) -> str:
    """Return a text for people, without the signatures and passwords of addresses in it."""
    return _QUERY.sub(lambda match: match["url"] or "", _USER.sub("//", text))


def read_again(read: Callable[[], T], path: str) -> T:
    """Return what `read` reads of a file; over a network, it has a second try when it fails.

    GDAL asks a busy server again, but not one whose connection stalls or breaks off; it keeps what
    came as if it were all there is.

    Args:
        read: Opens or reads the file with GDAL.
        path: Of the file, as GDAL has it.

    Raises:
        RasterioError: It failed for good.
    """
    try:
        return read()
    except RasterioError as error:
        if not is_remote(path) or _is_answer(error):
            raise
        logger.info("%s: %s; read again", without_query(path), scrub(str(error)))
    _forget(path)
    return read()


def _is_answer(error: RasterioError) -> bool:
    """Whether the server said what is wrong: it would say the same again."""
    return "HTTP response code: 4" in str(error) or "AWS_SECRET_ACCESS_KEY" in str(error)


def _forget(path: str) -> None:
    """Make GDAL forget what it has read of a file, and whether it was there.

    Files called so are forgotten when they are closed.

    Raises:
        RasterioError: Nothing comes; there is no use in waiting a third time.
    """
    with rasterio.Env(
        CPL_VSIL_CURL_NON_CACHED=path.partition("?")[0], GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"
    ):
        try:
            rasterio.open(path).close()
        except RasterioError as error:
            if "too slow" in str(error):
                raise
            logger.debug("%s is forgotten: %s", without_query(path), scrub(str(error)))


def why_not_read(path: str, error: BaseException) -> str:
    """Return, for people, why a file could not be read over a network, and what to do.

    Args:
        path: Of the file, as GDAL has it.
        error: What came of it.
    """
    said = " ".join(str(error).split()).rstrip(".")
    if "HTTP response code: 404" in said or "does not exist" in said:
        why, advice = "it is not there", "Check the address."
    elif re.search(r"HTTP response code: 40[13]", said):
        why = "it is not for everybody"
        advice = "Give a signed address or credentials, or download it and give the file."
    elif "AWS_SECRET_ACCESS_KEY" in said or "InvalidCredentials" in said:
        why = "nothing says who asks for it"
        advice = "Set AWS_NO_SIGN_REQUEST=YES for a public bucket, else your AWS credentials."
    elif code := re.search(r"HTTP response code: (\d+)", said):
        why, advice = f"the server answers {code[1]}, again and again", "Try later."
    elif "too slow" in said or "timed out" in said:
        why, advice = "nothing came for a long time, twice", "Try later, or download it first."
    elif "not recognized" in said:
        why, advice = "what comes is no raster", "Check the address, or whether one has to log in."
    else:
        why = f"the connection broke or stalled, or it is damaged ({scrub(said)})"
        advice = "Try later, or download it first."
    return f"{without_query(path)} cannot be read: {why}. {advice}"


def gdal_settings() -> dict[str, str]:
    """Return `GDAL_SETTINGS` without those that the user has set in the environment."""
    return {name: value for name, value in GDAL_SETTINGS.items() if name not in os.environ}


def _setting(name: str) -> float:
    """Return the value that GDAL is given, so that both kinds of reading behave alike."""
    text = os.environ.get(name, GDAL_SETTINGS[name])
    try:
        return float(text)
    except ValueError:
        raise SceneError(f"{name} in the environment is {text!r}, which is no number.") from None


def fetch(url: str, limit: int = DOCUMENT_LIMIT) -> bytes:
    """Return a document from the net; a busy or broken server is asked again.

    Args:
        url: With http or https; s3, gs, az and abfs are asked for by their public addresses.
        limit: In bytes, unpacked.

    Raises:
        SceneError: It is not there, not to be had, or longer than `limit`.
    """
    address = _public_address(url)
    return _ask_again(lambda: _fetch_once(address, limit), url)


def fetch_start(url: str, size: int = 512) -> bytes:
    """Return how a file on the net begins, to see what it is.

    Args:
        url: As `fetch` takes it.
        size: In bytes; what comes is not more than that.

    Raises:
        SceneError: It is not there, or not to be had.
    """
    address = _public_address(url)
    return _ask_again(lambda: _fetch_once(address, size, start=True), url)


def _ask_again(ask: Callable[[], bytes], url: str) -> bytes:
    tries = 1 + max(0, int(_setting("GDAL_HTTP_MAX_RETRY")))
    delay = _setting("GDAL_HTTP_RETRY_DELAY")
    for number in range(1, tries + 1):
        try:
            return ask()
        except _TransientError as error:
            if number == tries or (error.slow and number > 1):
                raise SceneError(
                    f"{without_query(url)} cannot be fetched: {error}, {number} times. "
                    "Try later, or download it and give the file."
                ) from error
            logger.info("%s: %s; asked again", without_query(url), error)
            time.sleep(delay * 2 ** (number - 1))
    raise AssertionError("unreachable")  # the last try returns or raises


class _TransientError(Exception):
    """What may go well at the next try."""

    def __init__(self, why: str, *, slow: bool = False) -> None:
        super().__init__(why)
        self.slow = slow
        """Whether it took long: two such are enough."""


def _public_address(url: str) -> str:
    """Return the http address of a document.

    Raises:
        SceneError: It has none that is known.
    """
    scheme, rest = _scheme(url), url.partition("://")[2]
    bucket, _, key = rest.partition("/")
    if scheme in {"http", "https"}:
        return url
    if scheme == "s3" and key:
        return f"https://{bucket}.s3.amazonaws.com/{key}"
    if scheme == "gs" and key:
        return f"https://storage.googleapis.com/{bucket}/{key}"
    if match := _ABFS.match(url):
        account, container, path = match["account"], match["container"], match["path"]
        return f"https://{account}.blob.core.windows.net/{container}/{path}"
    if scheme == "az" and key and (own := os.environ.get("AZURE_STORAGE_ACCOUNT")):
        return f"https://{own}.blob.core.windows.net/{bucket}/{key}"
    raise SceneError(
        f"{without_query(url)} is no address that a document can be fetched from. "
        "Give its https address, or download it and give the file."
    )


def _fetch_once(url: str, limit: int, *, start: bool = False) -> bytes:
    """Ask once for all of a document, or for its first `limit` bytes."""
    stall = _setting("GDAL_HTTP_LOW_SPEED_TIME")
    shown = without_query(url)
    try:
        with requests.get(
            url,
            stream=True,
            headers={"Range": f"bytes=0-{limit - 1}"} if start else None,
            timeout=(_setting("GDAL_HTTP_CONNECTTIMEOUT"), stall),
        ) as answer:
            if answer.status_code in _RETRIED:
                raise _TransientError(f"it answers {answer.status_code} {answer.reason}")
            if not answer.ok:
                raise SceneError(
                    f"{shown} answers {answer.status_code} {answer.reason}. "
                    f"{_advice(answer.status_code)}"
                )
            if start:  # a server that knows no ranges sends everything
                return next(answer.iter_content(limit), b"")
            return _body(answer, limit, stall, shown)
    except (requests.Timeout, requests.ConnectionError) as error:
        slow = isinstance(error, requests.Timeout) or "Read timed out" in str(error)
        raise _TransientError(_why(error, stall), slow=slow) from error
    except (requests.RequestException, ValueError) as error:
        # ValueError: what urllib3 says of an address that is none ("http://[").
        if isinstance(error, requests.exceptions.ChunkedEncodingError):
            raise _TransientError("the connection broke off") from error
        raise SceneError(f"{shown} cannot be fetched: {type(error).__name__}.") from error


def _body(answer: requests.Response, limit: int, stall: float, shown: str) -> bytes:
    """Return what an answer holds, unless that is too long or takes for ever."""
    start, slowest = time.monotonic(), _setting("GDAL_HTTP_LOW_SPEED_LIMIT")
    body = bytearray()
    for chunk in answer.iter_content(CHUNK):
        body += chunk
        if len(body) > limit:
            raise SceneError(
                f"{shown} is longer than {limit / 2**20:g} MiB: that is no metadata. "
                "Give the address of the item or of the raster."
            )
        passed = time.monotonic() - start
        if passed > stall and len(body) < slowest * passed:
            raise _TransientError(
                f"less than {slowest:g} bytes a second came for {passed:.0f} s", slow=True
            )
    announced = answer.headers.get("Content-Length", "")
    # requests hands over a body that broke off as if it were whole.
    packed = "Content-Encoding" in answer.headers
    if announced.isdecimal() and not packed and len(body) < int(announced):
        raise _TransientError(f"the connection broke off after {len(body)} of {announced} bytes")
    return bytes(body)


def _why(error: requests.RequestException, stall: float) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return "no connection was made in time"
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
        return f"nothing came for {stall:g} s"
    if "NameResolution" in str(error) or "getaddrinfo" in str(error):
        return "its name is not known"
    if isinstance(error, requests.exceptions.SSLError):
        return "the secure connection failed"
    if "refused" in str(error):
        return "the connection was refused"
    return "the connection broke off"


def _advice(status: int) -> str:
    if status in {401, 403}:
        return "It needs a signed address, or download it and give the file."
    return "Check the address."
