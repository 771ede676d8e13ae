"""Ask for known vulnerabilities of what the locks name: ``make audit``.

Exit code 1 if one is known. A service that does not answer, or knows none of the packages, is said so on a line that
begins with ``audit: skipped``: that is no pass.
"""

from __future__ import annotations

import json
import subprocess
import sys

SERVICES = ("pypi", "osv")


def main(program: str, locks: list[str]) -> int:
    """Audit each lock by the first service that answers; return the exit code."""
    codes = []
    for lock in locks:
        outcomes = (outcome_of(*ask(program, lock, service)) for service in SERVICES)
        code, said = next((outcome for outcome in outcomes if outcome), (0, f"skipped, {SERVICES} do not answer"))
        print(f"audit: {said}: {lock}" if code == 0 else said)
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
        print("\n".join(errors.strip().splitlines()[-1:]), file=sys.stderr)
        return None
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
