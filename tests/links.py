"""Check every address in the documents: `make links`; unit tests check the links inside the repository."""

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
# Public addresses: a host with several labels, not ending in a private network's domain.
_PUBLIC = re.compile(r"https?://(?:[\w-]+\.)+(?!internal\b)[a-z]{2,}(?:[:/?#]|$)")
# Examples, and the providers' endpoints, which answer nobody without a key.
_EXAMPLE = re.compile(
    r"https?://[^/]*\b(?:example\.(?:com|org)|r2\.cloudflarestorage\.com|amazonaws\.com|backblazeb2\.com"
    r"|digitaloceanspaces\.com|wasabisys\.com|scw\.cloud|your-objectstorage\.com)"
)


def addresses(text: str) -> set[str]:
    """Return the public addresses in a document."""
    found = {match.rstrip(".,;:*") for match in _ADDRESS.findall(text)}
    return {address for address in found if _PUBLIC.match(address) and not _EXAMPLE.match(address)}


def fault_of(address: str) -> str:
    """Return what is wrong with an address; nothing when it exists or its server merely refuses us now."""
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
    """Print every broken address with its location; return 1 when there is one."""
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
