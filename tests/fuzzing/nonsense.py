"""Ways to spoil bytes, text, XML and JSON. Each returns what it made and says what it did."""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from xml.etree import ElementTree

from numpy.random import Generator


class Spoilt(NamedTuple):
    """Content with something wrong in it."""

    content: bytes
    what: str


NUMBERS = (
    "NaN", "nan", "Infinity", "-Infinity", "1e400", "-1e400", "1e308", "5e-324", "0", "-0", "-1",
    "9" * 400, "1" * 5000, "2147483648", "4294967296", "18446744073709551616", "0x10", "1_000",
    "1,5", "१२", "", " ", "abc", "None", "true", "1e5", "--5", "10000 20000", "1/3",
)  # fmt: skip
TEXTS = (
    *NUMBERS, "../../../outside/plain.tif", "/etc/passwd", "x" * 100_000, "\u202egnp.exe",
    "a\nb", "error: all is well", "%s%s%n", "{0.__class__}", "[bold red]x[/bold red]", "~", "*",
    "B8A", "B99", "2024-13-45T99:99:99Z", "0000-00-00", "9999-12-31T23:59:60Z", "-1-01-01", "[/]",
    "S3A", "Level-9Z", "EPSG:999999", "EPSG:4326", "/vsizip/x.zip/y", "http://127.0.0.1:9/x.tif",
    "file:///etc/passwd", "s3://no-such-bucket/x.tif", "ftp://127.0.0.1/x", "C:\\x.tif", "#", "?",
)  # fmt: skip
JUNK = (b"\xef\xbb\xbf", bytes(64), b"\x1b[2J\x1b[31m", b"\xff\xfe", b"\r\n\r\n", b"]]>", b"}")
DEEP = 100_000


# Bytes


def spoil_bytes(content: bytes, rng: Generator) -> Spoilt:
    """Spoil any file."""
    return _one_of(rng, _truncate, _truncate, _flip, _overwrite, _cut, _swap, _insert)(content, rng)


def _one_of(rng: Generator, *ways: Callable[[bytes, Generator], Spoilt]) -> Any:
    return ways[rng.integers(len(ways))]


def _at(content: bytes, rng: Generator) -> int:
    """Return a place, half the time among the first bytes."""
    most = min(len(content), 512) if rng.random() < 0.5 else len(content)
    return int(rng.integers(most + 1))


def _truncate(content: bytes, rng: Generator) -> Spoilt:
    end = _at(content, rng)
    return Spoilt(content[:end], f"cut off after {end} of {len(content)} bytes")


def _flip(content: bytes, rng: Generator) -> Spoilt:
    spoilt = bytearray(content or b"\0")
    places = sorted(min(_at(content, rng), len(spoilt) - 1) for _ in range(rng.integers(1, 17)))
    for place in places:
        spoilt[place] ^= 1 << int(rng.integers(8))
    return Spoilt(bytes(spoilt), f"bits flipped at {places[:8]}")


def _overwrite(content: bytes, rng: Generator) -> Spoilt:
    start, count = _at(content, rng), int(rng.integers(1, 257))
    fill = rng.choice([b"\0", b"\xff", b"\x80", b" "])
    spoilt = content[:start] + bytes(fill) * count + content[start + count :]
    return Spoilt(spoilt, f"{count} times {bytes(fill)!r} from {start}")


def _cut(content: bytes, rng: Generator) -> Spoilt:
    start, count = _at(content, rng), int(rng.integers(1, max(2, len(content) // 2)))
    return Spoilt(content[:start] + content[start + count :], f"{count} bytes gone from {start}")


def _swap(content: bytes, rng: Generator) -> Spoilt:
    size = max(1, len(content) // 8)
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    order = rng.permutation(len(pieces))
    return Spoilt(b"".join(pieces[i] for i in order), f"pieces of {size} bytes shuffled")


def _insert(content: bytes, rng: Generator) -> Spoilt:
    start = _at(content, rng)
    junk = JUNK[rng.integers(len(JUNK))]
    return Spoilt(content[:start] + junk + content[start:], f"{junk!r} put in at {start}")


# Lines: MTL, YAML, lists, and XML and JSON too


def spoil_lines(content: bytes, rng: Generator) -> Spoilt:
    """Spoil a text of lines that have keys and values."""
    lines = content.decode(errors="replace").splitlines()
    if not lines:
        return spoil_bytes(content, rng)
    i, j = (int(n) for n in rng.integers(len(lines), size=2))
    way = rng.integers(7)
    if way == 0:
        lines = [lines[n] for n in rng.permutation(len(lines))]
        what = "lines shuffled"
    elif way == 1:
        what = f"line {i + 1} gone: {lines.pop(i).strip()[:60]}"
    elif way == 2:
        lines.insert(j, lines[i])
        what = f"line {i + 1} again at {j + 1}: {lines[i].strip()[:60]}"
    elif way == 3:
        lines[i], lines[j] = lines[j], lines[i]
        what = f"lines {i + 1} and {j + 1} exchanged"
    elif way == 4:
        lines = lines[:i] + lines[:i] + lines[i:]
        what = f"the first {i} lines twice"
    else:
        return _other_value(lines, rng)
    return Spoilt("\n".join(lines).encode(), what)


_VALUE = re.compile(r"(?<=[=:>\"] )[^<>=\"]+|(?<=[>\"])[^<>=\"\s][^<>=\"]*(?=[<\"])|\d[\d.eE+-]*")


def _other_value(lines: list[str], rng: Generator) -> Spoilt:
    """Put nonsense in the place of a value, or of the same value wherever it is."""
    places = [(i, found) for i, line in enumerate(lines) for found in _VALUE.finditer(line)]
    if not places:
        return spoil_bytes("\n".join(lines).encode(), rng)
    i, found = places[rng.integers(len(places))]
    other = text(rng)
    line = lines[i]
    lines[i] = line[: found.start()] + other + line[found.end() :]
    what = f"line {i + 1}: {found[0][:40]!r} is {other[:40]!r}"
    return Spoilt("\n".join(lines).encode(errors="replace"), what)


def text(rng: Generator) -> str:
    """Return a nonsensical value."""
    return TEXTS[rng.integers(len(TEXTS))]


YAML_BOMB = "\n".join(
    [
        "a0: &a0 [lol, lol]",
        *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)),
    ]
)


def spoil_yaml(content: bytes, rng: Generator) -> Spoilt:
    """Spoil lines, or use what YAML can that a list of bands has no need of."""
    if rng.random() < 0.5:
        return spoil_lines(content, rng)
    said = content.decode(errors="replace")
    more = (
        YAML_BOMB, "bands: &b {B02: *b}", "bands: " + "[" * DEEP, "bands: " + "{a: " * 5000,
        "x: !!python/object/apply:os.system ['touch ../outside/evil']", "offset: 2024-13-45",
        "? [a, b]\n: c", "scale: .nan", "offset: .inf", "nodata: 1e400", "scale: 0", "scale: -1",
        "bands: [B02.tif]", "bands: {B02: [B02.tif]}", "bands: {1: 2}", "bands: {null: B02.tif}",
        "bands: B02.tif", "sensor: [s2]", "sensor: {a: b}", "level: 2", "sensor: 2024-01-01",
        "--- \na: b\n--- \nc: d", "\tB02: B02.tif", "<<: *nothing", "scale: 9" + "9" * 5000,
        "nodata: [1, 2]", "bands: {B02: ../../outside/plain.tif}", "bands: {B02: ''}", "%TAG ! x",
        "bands: {B02: ., B03: ..}", "bands: {B02: /dev/zero}", "bands: {B02: /dev/stdin}",
        "B02: B02.tif\nB2: B03.tif", "bands: {b02: B02.tif, nir: B03.tif, nonsense: B04.tif}",
        "bands: {B02: http://127.0.0.1:9/B02.tif}", "bands: {B02: /vsicurl/http://127.0.0.1:9/x}",
        "bands: {B02: scene.yaml}", "# " + "x" * 2**21,
    )  # fmt: skip
    addition = more[rng.integers(len(more))]
    key = addition.partition(":")[0]
    kept = "\n".join(line for line in said.splitlines() if not line.startswith(f"{key}:"))
    if key == "bands":
        kept = "\n".join(line for line in kept.splitlines() if not line.startswith(" "))
    return Spoilt(f"{kept}\n{addition}\n".encode(), f"with {addition[:60]!r}")


# JSON


class Raw(str):
    """A piece of JSON to be written as it is."""

    __slots__ = ()


def _values(rng: Generator) -> Any:
    """Return a JSON value of any type."""
    made = (
        None, True, False, 0, -1, 1, 2**63, -(2**70), 0.5, 1e308, [], {}, "", [None], [[]],
        {"": {}},
        ["B02"], {"name": "B02"}, [1, "a", None, {}], {"href": {}}, "text", ["x"] * 1000,
        Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("1e400"), Raw("9" * 5000),
        Raw("[" * DEEP + "]" * DEEP), Raw('{"a":' * DEEP + "1" + "}" * DEEP), Raw('"\\ud800"'),
        Raw('"\\u0000\\u001b[31m"'), Raw("[" * 500 + "]" * 500), Raw("[" + "0," * 200_000 + "0]"),
    )  # fmt: skip
    if rng.random() < 0.4:
        return text(rng)
    return made[rng.integers(len(made))]


def spoil_json(content: bytes, rng: Generator) -> Spoilt:
    """Change, take away, rename or repeat nodes of a JSON document."""
    try:
        tree = json.loads(content)
    except ValueError:
        return spoil_bytes(content, rng)
    if rng.random() < 0.03:
        tree, what = _values(rng), "all of it is something else"
    else:
        told = []
        for _ in range(1 if rng.random() < 0.7 else rng.integers(2, 9)):
            nodes = list(_nodes(tree, ""))
            if nodes:
                told.append(_change(*nodes[rng.integers(len(nodes))], rng))
        what = "; ".join(told)
    return Spoilt(_as_json(tree).encode(errors="surrogatepass"), what)


def _nodes(tree: Any, path: str) -> Any:
    """Yield every place that a document has: (container, key, path), the outer ones often."""
    if not isinstance(tree, dict | list):
        return
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        here = f"{path}/{key}"[:200]
        yield tree, key, here
        if isinstance(value, dict | list):
            yield from ((tree, key, here),) * 2
            if len(here) < 150:
                yield from _nodes(value, here)


def _change(container: Any, key: Any, path: str, rng: Generator) -> str:
    way = rng.integers(8)
    if way == 0:
        del container[key]
        return f"{path} gone"
    if way == 1 and isinstance(container, dict):
        container[f"{key}".upper()] = container.pop(key)
        return f"{path} in capitals"
    if way == 2 and isinstance(container, dict):
        container[Raw(json.dumps(f"{key}"))] = _values(rng)  # once more, after the first
        return f"{path} twice"
    if way == 3:
        container[key] = [container[key]]
        return f"{path} in a list"
    if way == 4:
        container[key] = (
            list(container[key].values())
            if isinstance(container[key], dict)
            else {"0": container[key]}
        )
        return f"{path} a list for a mapping, or the other way round"
    container[key] = value = _values(rng)
    return f"{path} is {str(value)[:40]!r}"


def _as_json(value: Any) -> str:
    """Write JSON in which pieces may be raw, so also nonsense."""
    if isinstance(value, Raw):
        return str.__str__(value)
    if isinstance(value, dict):
        pieces = (
            f"{k if isinstance(k, Raw) else json.dumps(str(k))}:{_as_json(v)}"
            for k, v in value.items()
        )
        return "{" + ",".join(pieces) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_as_json, value)) + "]"
    return json.dumps(value)


# XML


def spoil_xml(content: bytes, rng: Generator) -> Spoilt:
    """Change, take away, rename or move elements; or make it dangerous."""
    if rng.random() < 0.25:
        return _dangerous_xml(content, rng)
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError:
        return spoil_bytes(content, rng)
    told = []
    for _ in range(1 if rng.random() < 0.7 else rng.integers(2, 9)):
        told.append(_change_element(root, rng))
    return Spoilt(ElementTree.tostring(root, encoding="utf-8"), "; ".join(told))


def _change_element(root: ElementTree.Element, rng: Generator) -> str:
    pairs = [(parent, child) for parent in root.iter() for child in parent]
    if not pairs:
        root.text = text(rng).replace("\0", "")
        return "an empty root"
    parent, child = pairs[rng.integers(len(pairs))]
    name = child.tag.rpartition("}")[2]
    way = rng.integers(8)
    if way == 0:
        parent.remove(child)
        return f"{name} gone"
    if way == 1:
        parent.append(child)
        return f"{name} twice"
    if way == 2:
        child.tag = "Nonsense"
        return f"{name} renamed"
    if way == 3:
        root.append(child)
        parent.remove(child)
        return f"{name} moved to the root"
    if way == 4 and child.attrib:
        key = list(child.attrib)[rng.integers(len(child.attrib))]
        child.set(key, value := text(rng))
        return f"{name}@{key} is {value[:40]!r}"
    if way == 5 and child.attrib:
        child.attrib.clear()
        return f"{name} without attributes"
    if way == 6:
        for inner in list(child):
            child.remove(inner)
        child.text = ""
        return f"{name} empty"
    child.text = value = text(rng)
    return f"the text of {name} is {value[:40]!r}"


_BOMB = (
    '<!DOCTYPE bomb [<!ENTITY a0 "boom">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    + "]>"
)
_QUADRATIC = f'<!DOCTYPE bomb [<!ENTITY a11 "{"a" * 100_000}">]>'
_OUTSIDE = '<!DOCTYPE x [<!ENTITY a11 SYSTEM "file://{outside}/secret.txt">]>'
_PARAMETER = '<!DOCTYPE x [<!ENTITY % p SYSTEM "file://{outside}/secret.dtd"> %p;]>'
_EXTERNAL = '<!DOCTYPE x SYSTEM "file://{outside}/secret.dtd">'


def _dangerous_xml(content: bytes, rng: Generator) -> Spoilt:
    """Give it entities that grow or lead elsewhere, or far too much of something.

    `{outside}` is replaced by who writes the file.
    """
    said = content.decode(errors="replace")
    head, _, body = said.rpartition("?>") if said.startswith("<?xml") else ("", "", said)
    head = f"{head}?>" if head else ""
    way = rng.integers(9)
    if way < 5:
        doctype, what = (
            (_BOMB, "an entity bomb"),
            (_QUADRATIC, "a quadratic bomb"),
            (_OUTSIDE, "an external entity"),
            (_PARAMETER, "a parameter entity"),
            (_EXTERNAL, "an external DTD"),
        )[way]
        times = 10_000 if way == 1 else 1
        body = re.sub(r">[^<>]+</", lambda _: f">{'&a11;' * times}</", body, count=3)
        return Spoilt(f"{head}{doctype}{body}".encode(), what)
    if way == 5:
        cut = body.find(">", body.find("<") + 1) + 1
        deep = body[:cut] + "<a>" * DEEP + "</a>" * DEEP + body[cut:]
        return Spoilt((head + deep).encode(), f"{DEEP} elements deep")
    if way == 6:
        many = "".join(f' a{i}="{i}"' for i in range(50_000))
        return Spoilt(
            (head + re.sub(r"(<[\w:.-]+)", lambda m: m[1] + many, body, count=1)).encode(),
            "50000 attributes",
        )
    if way == 7:
        declared = rng.choice(["UTF-16", "UTF-7", "no-such", "ascii", "cp037", "idna", "hex"])
        return Spoilt(
            f'<?xml version="1.0" encoding="{declared}"?>{body}'.encode(),
            f"declared to be {declared}",
        )
    return Spoilt((head + body).encode("utf-16"), "written in UTF-16")
