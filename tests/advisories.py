"""Ask for known vulnerabilities of what the locks name: ``make audit``.

Exit code 1 if one is known. If no service answers, or none knows any of the packages, the line begins with
``audit: skipped``: that is no pass.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

SERVICES = ("pypi", "osv")
UNANSWERED = re.compile("Connection|Time(d )?out|HTTP|ServiceError", re.IGNORECASE)
"""What pip-audit says where a service cannot be reached; all else that it says is its own fault, or the lock's."""


def main(program: str, locks: list[str]) -> int:
    """Audit each lock by the first service that answers; return the exit code."""
    codes = []
    for lock in locks:
        outcomes = (outcome_of(*ask(program, lock, service)) for service in SERVICES)
        code, line = next(
            (outcome for outcome in outcomes if outcome), (0, f"skipped, {' and '.join(SERVICES)} do not answer")
        )
        print(f"audit: {line}: {lock}" if code == 0 else line)
        codes.append(code)
    return max(codes)


def ask(program: str, lock: str, service: str) -> tuple[str, str]:
    """Return what pip-audit writes to its outputs; it resolves nothing, as a lock names all."""
    command = [program, "--requirement", lock, "--disable-pip", "--require-hashes", "--format", "json"]
    command += ["--vulnerability-service", service, "--progress-spinner", "off", "--timeout", "20"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout, answer.stderr


def outcome_of(output: str, errors: str) -> tuple[int, str] | None:
    """Return exit code and a line, or None if the service did not answer.

    pip-audit counts packages that a service does not know as clean; here they are counted and told.
    """
    try:
        packages = json.loads(output)["dependencies"]
    except ValueError:
        last = (errors.strip().splitlines() or ["nothing"])[-1]
        return None if UNANSWERED.search(errors) else (1, f"audit: pip-audit says {last}")
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        return None
    known = [
        f"{package['name']} {package['version']}: {fault['id']}, repaired in {', '.join(fault['fix_versions']) or '-'}"
        for package in audited
        for fault in package["vulns"]
    ]
    if known:
        return 1, "\n".join(f"audit: {line}" for line in known)
    unknown = len(packages) - len(audited)
    return 0, f"nothing known about {len(audited)} packages" + (f", {unknown} not audited" if unknown else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
