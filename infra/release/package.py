"""Packs functions that are built and the template into one zip, from which a stack is deployed without a compiler.

    python3 infra/release/package.py --code target/deploy/lambda --arch arm64 --version 0.1.0 authorizer session ...

The same input makes the same bytes: entries have a fixed time and order.
"""

import argparse
import re
import sys
import zipfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE_URI = re.compile(r"^(\s+CodeUri: )\.\./target/deploy/lambda/([a-z]+)/$", re.MULTILINE)
ARCHITECTURE = re.compile(r"(^  Architecture:\n(?:    .*\n)*?    Default: )\S+$", re.MULTILINE)
# The earliest time that a zip can hold.
TIME = (1980, 1, 1, 0, 0, 0)


class NotPacked(Exception):
    """The reason why there is no package."""


def entry(archive: zipfile.ZipFile, name: str, content: bytes, mode: int) -> None:
    info = zipfile.ZipInfo(name, TIME)
    info.create_system = 3
    info.external_attr = (0o100000 | mode) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content, compresslevel=9)


def function_zip(bootstrap: bytes) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        entry(archive, "bootstrap", bootstrap, 0o755)
    return packed.getvalue()


def packaged_template(template: str, arch: str, functions: list[str]) -> str:
    """The template with names of zips instead of folders, and the architecture of their code as default."""
    named = {name for _, name in CODE_URI.findall(template)}
    missing = sorted(named - set(functions))
    if not named or missing:
        raise NotPacked(f"the template needs functions that were not built: {', '.join(missing) or 'none is named'}")
    packaged = CODE_URI.sub(r"\1./\2.zip", template)
    if re.search(r"CodeUri:(?! \./[a-z]+\.zip$)", packaged, re.MULTILINE):
        raise NotPacked("a CodeUri of the template has another form than `../target/deploy/lambda/NAME/`")
    packaged, replaced = ARCHITECTURE.subn(rf"\g<1>{arch}", packaged)
    if replaced != 1:
        raise NotPacked("the template has no parameter Architecture with a default")
    return packaged


def package(code: Path, arch: str, version: str, functions: list[str], folder: Path) -> Path:
    template = packaged_template((ROOT / "infra/template.yaml").read_text(), arch, functions)
    packed = folder / f"roomcast-{version}-{arch}.zip"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(packed, "w") as archive:
        entry(archive, "template.yaml", template.encode(), 0o644)
        for name in sorted(functions):
            bootstrap = code / name / "bootstrap"
            entry(archive, f"{name}.zip", function_zip(bootstrap.read_bytes()), 0o644)
        for name in ("LICENSE-APACHE", "LICENSE-MIT", "CHANGELOG.md"):
            entry(archive, name, (ROOT / name).read_bytes(), 0o644)
    return packed


def main() -> int:
    options = argparse.ArgumentParser(description="Packs built functions and the template.")
    options.add_argument("--code", type=Path, required=True, help="what infra/deploy/build has made")
    options.add_argument("--arch", choices=["x86_64", "arm64"], required=True)
    options.add_argument("--version", required=True)
    options.add_argument("--to", type=Path, default=ROOT / "target/release-artifacts")
    options.add_argument("functions", nargs="+")
    asked = options.parse_args()
    try:
        packed = package(asked.code, asked.arch, asked.version, asked.functions, asked.to)
    except (NotPacked, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{packed}, {packed.stat().st_size // 1024} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
