#!/usr/bin/env python3
"""Lays the module out as an OCI image in dist/image and prints its digest.

image.py [MODULE DIR] does so with another module, for tests.

The form is the "compat" variant of the Wasm image specification
(https://github.com/solo-io/wasm/blob/master/spec/spec-compat.md): one
tar+gzip layer with plugin.wasm at its root. Istio's agent, Envoy Gateway and
every registry take it. The same module gives the same digest, by the same
Python.
"""

import gzip
import hashlib
import io
import json
import pathlib
import re
import shutil
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULE, IMAGE = (ROOT / path for path in sys.argv[1:] or ("dist/sidespan.wasm", "dist/image"))
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def layer(module: bytes) -> tuple[bytes, bytes]:
    """The layer, and what is in it before compression."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        # Neither a time nor an owner, or no two digests would be the same.
        entry = tarfile.TarInfo("plugin.wasm")
        entry.size = len(module)
        entry.mode = 0o644
        archive.addfile(entry, io.BytesIO(module))
    return gzip.compress(tar.getvalue(), 9, mtime=0), tar.getvalue()


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blob(data: bytes, media_type: str) -> dict:
    """Writes a blob and gives its descriptor."""
    digest = sha256(data)
    (IMAGE / "blobs" / digest.replace(":", "/")).write_bytes(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def to_json(value: dict) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def main() -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    shutil.rmtree(IMAGE, ignore_errors=True)
    (IMAGE / "blobs/sha256").mkdir(parents=True)

    compressed, tar = layer(MODULE.read_bytes())
    config = {
        # A module runs anywhere, but a configuration must name a platform.
        "architecture": "wasm",
        "os": "wasip1",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [sha256(tar)]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(to_json(config), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(compressed, "application/vnd.oci.image.layer.v1.tar+gzip")],
        "annotations": {
            "org.opencontainers.image.title": "sidespan",
            "org.opencontainers.image.description": "OpenTelemetry tracing for Envoy and Istio",
            "org.opencontainers.image.version": version,
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    }
    described = blob(to_json(manifest), MANIFEST)
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            described | {"annotations": {"org.opencontainers.image.ref.name": version}}
        ],
    }
    (IMAGE / "index.json").write_bytes(to_json(index))
    (IMAGE / "oci-layout").write_bytes(to_json({"imageLayoutVersion": "1.0.0"}))
    print(f"{IMAGE.relative_to(ROOT)}  {version}  {described['digest']}")


main()
