"""Ask every address in the documents whether it is there: `make links`; what is inside the repository, unit tests look for."""

from __future__ import annotations

import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.markdown import documents

_TRIES, _WAIT_S = 3, 5
_GONE = (404, 410)
_ADDRESS = re.compile(r"https?://[^\s<>()\[\]`\"'|…$]+")
# What anybody could open: a host with a name of several parts, of which the last is not a private network's.
_PUBLIC = re.compile(r"https?://(?:[\w-]+\.)+(?!internal\b)[a-z]{2,}(?:[:/?#]|$)")
# Examples, and the providers' endpoints, which answer to nobody without a key.
_EXAMPLE = re.compile(
    r"https?://[^/]*\b(?:example\.(?:com|org)|r2\.cloudflarestorage\.com|amazonaws\.com|backblazeb2\.com"
    r"|digitaloceanspaces\.com|wasabisys\.com|scw\.cloud|your-objectstorage\.com)"
)


def addresses(text: str) -> set[str]:
    """The addresses of a document that anybody could open."""
    found = {match.rstrip(".,;:*") for match in _ADDRESS.findall(text)}
    return {address for address in found if _PUBLIC.match(address) and not _EXAMPLE.match(address)}


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
    for document in documents():
        for address in addresses(document.text):
            places.setdefault(address, []).append(str(document))
    with ThreadPoolExecutor(8) as pool:
        faults = {a: fault for a, fault in zip(places, pool.map(fault_of, places), strict=True) if fault}
    for address, fault in sorted(faults.items()):
        print(f"ERROR: {address}: {fault} [{', '.join(places[address])}]", file=sys.stderr)
    print(f"{len(places) - len(faults)} of {len(places)} addresses are there")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
