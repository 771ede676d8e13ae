"""A software bill of materials of the wheel, CycloneDX 1.6: ``make sbom``.

It names the wheel with its digest, and every package that its core dependencies need, in the releases that are
installed beside this program (the locked ones); those that only an extra needs are optional. The same wheel and
releases give the same file.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
import zipfile
from collections.abc import Collection, Iterator
from email import message_from_string
from email.message import Message
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

EXTRAS = ("images", "aedat4")
"""What a user installs; the other extras are for developing."""


def main(folder: Path, target: Path) -> None:
    """Write the bill of the one wheel in a folder."""
    (wheel,) = folder.glob("evsim-*.whl")
    bill = bill_of(wheel)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")
    print(f"{target}: {wheel.name} and {len(bill['components'])} packages")


def bill_of(wheel: Path, extras: tuple[str, ...] = EXTRAS) -> dict:
    """Return the CycloneDX document of a wheel."""
    content = wheel.read_bytes()
    metadata = metadata_of(wheel)
    core = closure(metadata, ())
    components = core | closure(metadata, extras)
    digest = hashlib.sha256(content).hexdigest()
    root = component(metadata) | {"hashes": [{"alg": "SHA-256", "content": digest}]}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest + ','.join(sorted(components)))}",
        "version": 1,
        "metadata": {"component": root | {"type": "application"}},
        "components": [
            component(package) | {"scope": "required" if reference in core else "optional"}
            for reference, package in sorted(components.items())
        ],
        "dependencies": [
            {
                "ref": reference_of(package),
                "dependsOn": sorted({reference_of(need) for need, _ in needs(package, which)}),
            }
            for package, which in [(metadata, extras), *((components[name], ()) for name in sorted(components))]
        ],
    }


def metadata_of(wheel: Path) -> Message:
    """Return the METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode("utf-8"))


def closure(metadata: Message, extras: Collection[str]) -> dict[str, Message]:
    """Return all that a package needs on this machine, and what that needs, by reference."""
    known: dict[str, Message] = {}
    waiting = list(needs(metadata, extras))
    while waiting:
        package, wanted = waiting.pop()
        if reference_of(package) not in known:
            known[reference_of(package)] = package
            waiting += needs(package, wanted)
    return known


def needs(metadata: Message, extras: Collection[str]) -> Iterator[tuple[Message, Collection[str]]]:
    """Yield the installed packages that one names as its needs, for the extras asked for, and theirs."""
    for line in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield distribution(requirement.name).metadata, requirement.extras


def reference_of(metadata: Message) -> str:
    """Return the package URL of a release: PyPI's normal form of its name, and its version."""
    return f"pkg:pypi/{re.sub('[-_.]+', '-', metadata['Name']).lower()}@{metadata['Version']}"


def component(metadata: Message) -> dict:
    """Return a release as CycloneDX names it; a licence only where its metadata has an SPDX expression."""
    reference = reference_of(metadata)
    expression = metadata.get("License-Expression")
    return {
        "type": "library",
        "bom-ref": reference,
        "name": metadata["Name"],
        "version": metadata["Version"],
        "purl": reference,
        **({"description": metadata["Summary"]} if metadata.get("Summary") else {}),
        **({"licenses": [{"expression": expression}]} if expression else {}),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
