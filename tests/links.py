"""Ask every address in the documents whether it is there: `make links`; what is inside the repository, unit tests look for."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
_TRIES, _WAIT_S = 3, 5
_GONE = (404, 410)
_ADDRESS = re.compile(r"https?://[^\s<>()\[\]`\"'|…$]+")
# Examples, and what only a machine of the reader's has.
_NOT_OURS = re.compile(
    r"https?://(?:[^/]*@|[^/]*\bexample\.(?:com|org)|localhost|127\.|\[|(?:[^/]*\.)?(?:r2\.cloudflarestorage|amazonaws|backblazeb2"
    r"|digitaloceanspaces|wasabisys|scw\.cloud|your-objectstorage)\b|[^/.:]+(?:[:/]|$))"
)


def addresses(text: str) -> set[str]:
    """The addresses of a document that anybody could open."""
    found = {match.rstrip(".,;:*") for match in _ADDRESS.findall(text)}
    return {address for address in found if not _NOT_OURS.match(address)}


def documents() -> Iterator[Path]:
    """Every document of the repository."""
    yield from [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")]


def fault_of(address: str) -> str:
    """What is wrong with an address; nothing when it is there, or its server only does not want us now."""
    problem = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_WAIT_S)
        try:
            status = httpx.get(
                address, follow_redirects=True, timeout=20, headers={"User-Agent": "link check"}
            ).status_code
        except httpx.HTTPError as error:
            problem = f"{type(error).__name__}: {error}"
            continue
        return f"status {status}" if status in _GONE else ""
    return problem


def main() -> None:
    """Say every address that is not there, with where it stands; exit status 1 when there is one."""
    places: dict[str, list[str]] = {}
    for path in documents():
        for address in addresses(path.read_text()):
            places.setdefault(address, []).append(str(path.relative_to(ROOT)))
    with ThreadPoolExecutor(8) as pool:
        faults = {a: fault for a, fault in zip(places, pool.map(fault_of, places), strict=True) if fault}
    for address, fault in sorted(faults.items()):
        print(f"ERROR: {address}: {fault} [{', '.join(places[address])}]", file=sys.stderr)
    print(f"{len(places) - len(faults)} of {len(places)} addresses are there")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
