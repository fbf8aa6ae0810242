"""Makes an image of one layer from a folder, as `docker save` does.

Usage: image.py NAME FOLDER OUT ENTRYPOINT…
"""

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path


def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Forget who made the file and when, so that the same folder is the same image."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


name, folder, out, *entrypoint = sys.argv[1:]
buffer = io.BytesIO()
with tarfile.open(fileobj=buffer, mode="w") as archive:
    for path in sorted(Path(folder).iterdir()):
        archive.add(path, arcname=path.name, filter=owned_by_root)
layer = buffer.getvalue()
config = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"Entrypoint": entrypoint, "User": "65532", "Env": ["PATH=/usr/local/bin:/bin"]},
    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(layer)}"]},
}
described = json.dumps(config).encode()
files = {f"{digest(described)}.json": described, f"{digest(layer)}/layer.tar": layer}
manifest = [{"Config": next(iter(files)), "RepoTags": [name], "Layers": [f"{digest(layer)}/layer.tar"]}]
files["manifest.json"] = json.dumps(manifest).encode()
with tarfile.open(out, "w") as archive:
    for path, data in files.items():
        entry = tarfile.TarInfo(path)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
