"""Prints how many bytes a bootstrap has as a deployment package: alone in a zip, compressed as well as possible.

python3 zip_size.py PROGRAM
"""

import io
import sys
import zipfile

package = io.BytesIO()
with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    archive.write(sys.argv[1], "bootstrap")
print(len(package.getvalue()))
