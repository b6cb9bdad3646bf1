"""Whether this machine is fit for geounet, and what to do where it is not.

Libraries are imported by the check that tries them, so that one that is broken is a line of the
report and not its end.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

Status = Literal["ok", "warn", "bad"]

GIB = 2**30
MEMORY_NEEDED, MEMORY_COMFORTABLE = 2 * GIB, 4 * GIB
"""`predict` takes below 2 GiB beyond what importing torch does, however large the scene."""
DISK_NEEDED, DISK_COMFORTABLE = 1 * GIB, 10 * GIB
"""A Sentinel-2 tile's results and what is written on the way come to about 3 GiB."""

ONNX = ("onnx", "onnxscript", "onnxruntime")
"""Libraries of the extra `onnx`."""
KNOWN_PLACE = ((-3.0, 45.0), (500_000.0, 4_982_950.40))
"""(lon, lat) and the same in EPSG:32630: on its central meridian, where x is exact and y is
0.9996 times the meridian's length from the equator (4 984 944.38 m, WGS 84)."""
REINSTALL = "Install geounet again in a fresh environment: pip install, or conda env create."


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    topic: str
    status: Status
    finding: str
    advice: str | None = None
    """What to do; None where nothing is to be done."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return asdict(self)


def examine_machine(folder: Path) -> Iterator[Check]:
    """Look at everything that geounet needs, one check after another.

    Args:
        folder: Where results would be written.
    """
    yield from _guarded("Python", check_python)
    yield from _guarded("libraries", check_libraries)
    yield from _guarded("ONNX", check_onnx)
    yield from _guarded("torch", check_torch)
    yield from _guarded("GDAL", check_gdal)
    yield from _guarded("PROJ", check_proj)
    yield from _guarded("memory", check_memory)
    yield from _guarded("disk", lambda: check_disk(folder))


def _guarded(topic: str, check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Run a check; a library that does not even load is what it found."""
    try:
        yield from check()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        yield Check(topic, "bad", why, REINSTALL)


def check_python() -> Iterator[Check]:
    """Look at the version of Python, and whether it is a 64-bit one."""
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = SpecifierSet(_distribution_field("Requires-Python") or "")
    finding = f"{version} in {sys.prefix}"
    if not wanted.contains(version, prereleases=True):
        yield Check("Python", "bad", finding, f"geounet needs Python {wanted}.")
    elif sys.maxsize < 2**32:
        yield Check(
            "Python", "bad", f"{finding}, 32 bit", "Use a 64-bit Python: torch has no other."
        )
    else:
        yield Check("Python", "ok", finding)


def check_libraries() -> Iterator[Check]:
    """Hold the libraries that are installed to the lower bounds of geounet's own metadata."""
    requirements = _distribution_requirements()
    if requirements is None:
        yield Check(
            "libraries",
            "warn",
            "geounet runs from a folder and is not installed, so its needs are not known",
            "Install it: pip install --editable . in the checkout.",
        )
        return
    wrong = []
    for requirement in requirements:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append((requirement, "is missing"))
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append((requirement, f"is {version}"))
    for requirement, what in wrong:
        bounds = str(requirement.specifier)
        yield Check(
            "libraries",
            "bad",
            f"{requirement.name} {what}; geounet needs {bounds}",
            f'pip install "{requirement.name}{bounds}"',
        )
    if not wrong:
        yield Check("libraries", "ok", f"{len(requirements)} libraries, none older than needed")


def check_onnx() -> Iterator[Check]:
    """Look at the libraries that exporting to ONNX and running it need, which are optional."""
    found, missing = [], []
    for name in ONNX:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check("ONNX", "ok", f"no {', '.join(missing)}, which geounet[onnx] brings: optional")
    else:
        yield Check("ONNX", "ok", ", ".join(found))


def _distribution_requirements() -> list[Requirement] | None:
    """Return what geounet needs to run; None where it is not installed."""
    try:
        texts = metadata.requires("geounet") or []
    except metadata.PackageNotFoundError:
        return None
    found = [Requirement(text) for text in texts]
    # Those with a marker are for development, or for another platform.
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]


def _distribution_field(name: str) -> str | None:
    try:
        return metadata.metadata("geounet")[name]
    except metadata.PackageNotFoundError:
        return None


def check_torch() -> Iterator[Check]:
    """Look at torch, what it may run on, and in which precision `auto` runs there."""
    import torch

    from geounet.engine import choose_precision

    cores = len(os.sched_getaffinity(0))
    precision = choose_precision("auto", "cpu")
    note = "bf16 in hardware" if precision == "bf16" else "no bf16 in hardware, so fp32"
    yield Check("torch", "ok", f"{torch.__version__}, built for CUDA {torch.version.cuda or '–'}")
    yield Check("CPU", "ok", f"{cores} cores, {torch.get_num_threads()} threads in torch; {note}")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            yield _check_gpu(number)
    elif Path("/proc/driver/nvidia/version").exists():
        driver = Path("/proc/driver/nvidia/version").read_text()
        release = re.search(r"Module\S*\s+([\d.]+)|\s([\d.]{5,})\s", driver)
        yield Check(
            "GPU",
            "warn",
            f"there is an NVIDIA driver ({release[0].strip() if release else 'version unknown'}), "
            "but torch cannot use it",
            "Install the torch build for this driver (https://pytorch.org/get-started), or give "
            "the container its GPU (docker run --gpus all).",
        )
    else:
        yield Check("GPU", "ok", "none; training and prediction run on the CPU")


def _check_gpu(number: int) -> Check:
    """Let a GPU compute something."""
    import torch

    from geounet.engine import choose_precision

    device = f"cuda:{number}"
    properties = torch.cuda.get_device_properties(number)
    finding = f"{properties.name}, {properties.total_memory / GIB:.0f} GiB ({device})"
    try:
        identity = torch.eye(64, device=device)
        works = bool(((identity @ identity) == identity).all())
    except RuntimeError as error:
        return Check(
            "GPU", "bad", f"{finding}: {str(error).splitlines()[0]}", "Use --device cpu meanwhile."
        )
    if not works:
        return Check("GPU", "bad", f"{finding} computes wrongly", "Use --device cpu meanwhile.")
    return Check("GPU", "ok", f"{finding}; {choose_precision('auto', device)}")


JPEG2000 = ("JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID")


def check_gdal() -> Iterator[Check]:
    """Look at the formats that the two GDALs, rasterio's and pyogrio's, can read and write."""
    import pyogrio
    import rasterio

    with rasterio.Env() as environment:
        drivers = environment.drivers()
    missing = [name for name in ("GTiff", "COG", "VRT", "MEM") if name not in drivers]
    about = f"{rasterio.__gdal_version__} in rasterio {rasterio.__version__}"
    if missing:
        yield Check("GDAL", "bad", f"{about} has no driver {', '.join(missing)}", REINSTALL)
    else:
        yield Check("GDAL", "ok", f"{about}: GeoTIFF, COG and VRT")
    jpeg2000 = [name for name in JPEG2000 if name in drivers]
    if jpeg2000:
        yield Check("JPEG 2000", "ok", ", ".join(jpeg2000))
    else:
        yield Check(
            "JPEG 2000",
            "warn",
            "rasterio's GDAL cannot read it, so neither .jp2 files nor .SAFE products",
            "Use rasterio from PyPI, or conda install -c conda-forge libgdal-jp2openjpeg.",
        )
    vectors = pyogrio.list_drivers()
    lacking = [name for name in ("GPKG", "GeoJSON") if "w" not in vectors.get(name, "")]
    about = f"{pyogrio.__gdal_version_string__} in pyogrio {pyogrio.__version__}"
    if lacking:
        yield Check("vectors", "bad", f"{about} cannot write {', '.join(lacking)}", REINSTALL)
    else:
        yield Check("vectors", "ok", f"{about}: GeoPackage, GeoJSON")


def check_proj() -> Iterator[Check]:
    """Transform a place that is known by both PROJs, pyproj's and rasterio's."""
    import pyproj
    from pyproj.exceptions import ProjError
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    (lon, lat), known = KNOWN_PLACE
    found: dict[str, tuple[float, float] | str] = {}
    try:
        transformer = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32630", always_xy=True)
        found[f"pyproj {pyproj.__version__}"] = transformer.transform(lon, lat)
    except ProjError as error:
        found[f"pyproj {pyproj.__version__}"] = str(error)
    try:
        (x,), (y,) = transform("EPSG:4326", "EPSG:32630", [lon], [lat])
        found["rasterio"] = (x, y)
    except RasterioError as error:
        found["rasterio"] = str(error)
    for library, place in found.items():
        right = not isinstance(place, str) and all(
            abs(a - b) < 0.01 for a, b in zip(place, known, strict=True)
        )
        if right:
            yield Check("PROJ", "ok", f"{library} finds a known place")
        else:
            yield Check(
                "PROJ", "bad", f"{library} finds {place} where {known} is right", _proj_advice()
            )


def _proj_advice() -> str:
    """Return what to do about a PROJ that errs: most often it reads another one's database."""
    set_here = [name for name in ("PROJ_DATA", "PROJ_LIB") if os.environ.get(name)]
    if set_here:
        return f"Unset {' and '.join(set_here)}: each library brings its own database."
    return REINSTALL


def check_memory() -> Iterator[Check]:
    """Look at the memory that is free, in the container's limits."""
    free, total = available_memory(Path("/"))
    finding = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    advice = "Close other programs, or use a machine with more memory."
    if free < MEMORY_NEEDED:
        yield Check("memory", "bad", finding, advice)
    elif free < MEMORY_COMFORTABLE:
        yield Check("memory", "warn", finding, f"{advice} Smaller --window and --batch need less.")
    else:
        yield Check("memory", "ok", finding)


def available_memory(root: Path) -> tuple[int, int]:
    """Return bytes free and bytes there are, as Linux and the container's limit have it.

    Args:
        root: Where `/proc` and `/sys` are.
    """
    lines = (root / "proc/meminfo").read_text().splitlines()
    fields = {name: int(rest.split()[0]) * 1024 for name, rest in (x.split(":") for x in lines)}
    free, total = fields["MemAvailable"], fields["MemTotal"]
    group = root / "sys/fs/cgroup"
    try:
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        used = int((group / "memory.current").read_text())
        statistics = dict(x.split() for x in (group / "memory.stat").read_text().splitlines())
        used -= int(statistics["inactive_file"])  # cached files go when memory is needed
    except (FileNotFoundError, ValueError, KeyError):
        return free, total
    return min(free, limit - used), min(total, limit)


def check_disk(folder: Path) -> Iterator[Check]:
    """Look at the space in a folder, and whether it can be written to."""
    usage = shutil.disk_usage(folder)
    finding = f"{usage.free / GIB:.1f} GiB free in {folder.resolve()}"
    advice = "Free some space, or give an --out elsewhere."
    if not os.access(folder, os.W_OK):
        yield Check("disk", "warn", f"{finding}, which is read-only", "Give an --out elsewhere.")
    elif usage.free < DISK_NEEDED:
        yield Check("disk", "bad", finding, advice)
    elif usage.free < DISK_COMFORTABLE:
        yield Check("disk", "warn", f"{finding}: little for large scenes", advice)
    else:
        yield Check("disk", "ok", finding)
