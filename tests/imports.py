"""Checks who imports whom (filter/ARCHITECTURE.md, "Who may import whom")."""

import json
import pathlib
import re
import subprocess
import sys

# Each module of the core may use those above it.
LAYERS = [
    ["stats", "context", "protobuf", "host", "url"],
    ["headers"],
    ["propagation"],
    ["request"],
    ["sampling", "span"],
    ["otlp", "recording"],
    ["export"],
    ["config"],
    ["source", "delivery"],
    ["tracer"],
]
# What each package of the workspace may depend on within it.
PACKAGES = {
    # Its tests write configurations as users do.
    "sidespan-core": {"sidespan-config"},
    "sidespan-config": {"sidespan-core"},
    "sidespan-proxy-wasm": {"sidespan-core", "sidespan-config"},
    "sidespan-dynamic-module": {"sidespan-core", "sidespan-config"},
    "sidespan-validate": {"sidespan-config"},
    "sidespan-harness": set(),
    "sidespan-bench": {"sidespan-harness"},
    "sidespan-e2e": {"sidespan-harness"},
}
# What the core may link, all told: nothing that knows a host.
CORE_LINKS = {
    "aho-corasick", "base64", "crc", "httpdate", "miniz_oxide", "percent-encoding", "prost", "rand_xoshiro",
    "regex-lite", "serde_json",
}

root = pathlib.Path(__file__).parent.parent
faults = []

rank = {name: level for level, names in enumerate(LAYERS) for name in names}
source = root / "filter/core/src"
for path in sorted(source.rglob("*.rs")):
    module = path.relative_to(source).parts[0].removesuffix(".rs")
    if module == "lib":
        continue
    if module not in rank:
        faults.append(f"{path.relative_to(root)}: {module} is in no layer of {__file__}")
        continue
    code = path.read_text().split("#[cfg(test)]")[0]
    for used in set(re.findall(r"^[^/\n]*\bcrate::(\w+)", code, re.MULTILINE)) - {module}:
        if rank.get(used, 99) >= rank[module]:
            faults.append(f"{path.relative_to(root)}: {module} may not use {used}")

metadata = json.loads(
    subprocess.check_output(["cargo", "metadata", "--format-version=1", "--locked", "--no-deps"], cwd=root)
)
for package in metadata["packages"]:
    name = package["name"]
    used = {d["name"] for d in package["dependencies"] if d["name"] in PACKAGES}
    if name not in PACKAGES or not used <= PACKAGES[name]:
        faults.append(f"{name} may not depend on {', '.join(sorted(used))}")
    if name == "sidespan-core":
        linked = {d["name"] for d in package["dependencies"] if d["kind"] is None and not d["optional"]}
        if not linked <= CORE_LINKS:
            faults.append(f"{name} may not link {', '.join(sorted(linked - CORE_LINKS))}")

sys.exit("\n".join(faults) or None)
