"""Prints the version of this tree, if all files that name it agree. With --tag, the tag must agree too; with --notes,
prints the section of CHANGELOG.md about the version instead.

    python3 infra/release/version.py --tag v0.1.0 --notes
"""

import argparse
import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Disagreement(Exception):
    """Versions, or notes, that do not fit together."""


def template_version(template: str) -> str | None:
    found = re.search(r'^  Version:\n(?:    .*\n)*?    Value: "([^"]+)"', template, re.MULTILINE)
    return found and found[1]


def versions() -> dict[str, str | None]:
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
    client = json.loads((ROOT / "client/package.json").read_text())
    return {
        "Cargo.toml": cargo["workspace"]["package"]["version"],
        "client/package.json": client["version"],
        "infra/template.yaml": template_version((ROOT / "infra/template.yaml").read_text()),
    }


def agreed(found: dict[str, str | None]) -> str:
    distinct = set(found.values())
    version = distinct.pop()
    if distinct or version is None:
        raise Disagreement("versions differ: " + ", ".join(f"{file} has {version}" for file, version in found.items()))
    return version


def notes(changelog: str, version: str) -> str:
    heading = rf"^## \[?{re.escape(version)}\]? - \d{{4}}-\d{{2}}-\d{{2}}$"
    found = re.search(heading + r"\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not found:
        raise Disagreement(f"CHANGELOG.md has no section `## {version} - YYYY-MM-DD`")
    if not found[1].strip():
        raise Disagreement(f"CHANGELOG.md says nothing of {version}")
    return found[1].strip()


def main() -> int:
    options = argparse.ArgumentParser(description="The version of this tree.")
    options.add_argument("--tag", help="must be v and the version")
    options.add_argument("--notes", action="store_true", help="print the changes of the version")
    asked = options.parse_args()
    try:
        version = agreed(versions())
        if asked.tag and asked.tag != f"v{version}":
            raise Disagreement(f"the tag is {asked.tag}, the version is {version}")
        print(notes((ROOT / "CHANGELOG.md").read_text(), version) if asked.notes else version)
    except Disagreement as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
