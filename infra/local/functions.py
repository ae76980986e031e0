"""The Lambda functions' code, as `aws cloudformation package` delivers it: zipped, uploaded, named in the template."""

import hashlib
import io
import re
import stat
import zipfile
from pathlib import Path

from failure import Failure

BUCKET = "roomcast-artifacts"
TEMPLATE_KEY = "template.yaml"
CODE_URI = re.compile(r"^(?P<indent> +)CodeUri: \.\./target/deploy/lambda/(?P<name>[a-z]+)/$", re.MULTILINE)


def upload(s3, template: Path, code: Path) -> tuple[list[str], int]:
    """Uploads the functions and the template that names them. Returns the functions' names and their size in bytes."""
    s3.create_bucket(Bucket=BUCKET)
    size = 0
    names = []

    def located(match: re.Match) -> str:
        nonlocal size
        name = match["name"]
        archive = zipped(code / name / "bootstrap")
        key = f"{name}-{hashlib.sha256(archive).hexdigest()[:16]}.zip"
        s3.put_object(Bucket=BUCKET, Key=key, Body=archive)
        size += len(archive)
        names.append(name)
        return f"{match['indent']}CodeUri: s3://{BUCKET}/{key}"

    packaged = CODE_URI.sub(located, template.read_text())
    s3.put_object(Bucket=BUCKET, Key=TEMPLATE_KEY, Body=packaged.encode())
    return names, size


def zipped(bootstrap: Path) -> bytes:
    if not bootstrap.is_file():
        raise Failure(f"{bootstrap} is missing: build the functions with `make lambda`")
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = (stat.S_IFREG | 0o755) << 16
    archive = io.BytesIO()
    # Stored, not deflated: the zip stays on this machine, and compressing debug binaries takes longer than deploying.
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr(entry, bootstrap.read_bytes())
    return archive.getvalue()
