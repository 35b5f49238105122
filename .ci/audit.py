"""Ask pip-audit for known vulnerabilities of the lock: exit status 1 where there are some.

Where the service is out of reach that is said, and is no failure: a build must not depend on it.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from attrition import config, packages, stage

LONGEST_SECONDS = 120.0


def main() -> int:
    asked = replace(config.load(), force=True)
    facts = packages.check(asked, stage.now(), longest_seconds=LONGEST_SECONDS)
    sys.stdout.write(f"pip-audit: {facts['vulnerabilities_status']}\n")
    if facts["vulnerabilities_fault"] or facts["vulnerabilities_at"] is None:
        sys.stdout.write(
            "pip-audit: NOT CHECKED this time. Run `make audit` where the service can be reached.\n"
        )
        return 0
    vulnerable = [package for package in facts["packages"] if package["vulnerabilities"]]
    for package in vulnerable:
        found = ", ".join(package["vulnerabilities"])
        sys.stdout.write(f"  {package['name']} {package['required']}: {found}. Run: make lock UPGRADE=yes\n")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    raise SystemExit(main())
