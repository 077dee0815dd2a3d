#!/usr/bin/env python3
"""Checks the structure of the crates under filter/ (filter/ARCHITECTURE.md, "Layers").

No file imports upwards, and no two files import each other, directly or
around. No source file is longer than 400 lines. `unsafe` stands only in the
files that name a host's ABI. Packages depend only on those below them.

usage: structure.py [ROOT]
"""

import json
import pathlib
import re
import subprocess
import sys

# The layers of each crate from top to bottom. An entry is a folder or a file of
# src/, and may import entries of lower lines only. Files within a folder may
# import each other in one direction.
LAYERS = {
    "config": [
        "fallback",
        "parse",
        "schema",
        "convert",
        "document",
        "checks",
        "choices",
        "values",
        "object",
        "reader",
        "json_schema",
        "error",
    ],
    "core": [
        "tracer",
        "source",
        "config",
        "export",
        "otlp",
        "recording",
        "span",
        "sampling",
        "propagation",
        "host",
        "headers",
        "protobuf",
        "context",
        "stats",
    ],
    "runtime": [
        "workers",
        "stale_documents",
        "worker",
        "process",
        "stream",
        "configuration",
        "log_throttle",
        "logger",
        "metrics",
        "dispatch",
        "shared_state",
        "fault_injection",
    ],
    "proxy-wasm": [
        "callbacks",
        "http_context",
        "root_context",
        "wasm_host",
        "context_map",
        "stream_properties",
        "request_properties",
        "property_query",
        "header_injectors",
        "environment",
        "logger",
        "hostcalls",
        "types",
    ],
    "dynamic-module": [
        "hooks",
        "http_filter",
        "tracer",
        "filter_config",
        "export",
        "metrics",
        "documents",
        "logger",
        "attempt",
        "stream_properties",
        "request_properties",
        "metadata_types",
        "envoy_1_38",
        "node",
        "envoy",
        "system",
    ],
    "validate": ["surroundings", "document", "find", "node", "yaml", "report"],
}
# Files that may hold `unsafe`: those at the bottom call the host, those at the
# top are called by it.
UNSAFE = {
    "proxy-wasm": ["callbacks.rs", "hostcalls.rs"],
    "dynamic-module": ["hooks", "envoy"],
}
# What each package of the workspace may depend on within it.
PACKAGES = {
    # Its tests write configurations as users do.
    "sidespan-core": {"sidespan-config"},
    "sidespan-config": {"sidespan-core"},
    "sidespan-runtime": {"sidespan-core", "sidespan-config"},
    "sidespan-proxy-wasm": {"sidespan-core", "sidespan-runtime"},
    "sidespan-dynamic-module": {"sidespan-core", "sidespan-config", "sidespan-runtime"},
    "sidespan-validate": {"sidespan-config"},
    "sidespan-baseline-wasm": {"sidespan-core", "sidespan-config", "sidespan-runtime"},
    "sidespan-baseline-wasm-sdk": {"sidespan-core", "sidespan-config"},
    "sidespan-prune": set(),
    "sidespan-baseline-native": {"sidespan-core", "sidespan-config", "sidespan-runtime"},
    "sidespan-harness": set(),
    "sidespan-bench": {"sidespan-harness"},
    "sidespan-e2e": {"sidespan-harness"},
    "sidespan-sdk-probe": set(),
}
# All that the core may link: nothing that knows a host.
CORE_LINKS = {
    "aho-corasick", "base64", "crc", "httpdate", "miniz_oxide", "percent-encoding", "prost", "rand_xoshiro",
    "regex-lite", "serde_json",
}
MAX_LINES = 400


def code_of(text):
    """The code of a file: without comments, texts and unit tests."""
    token = re.compile(
        r"""//[^\n]*|/\*.*?\*/|r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^'\\])'""", re.DOTALL
    )
    text = token.sub(lambda m: '""' if m.group(0)[-1] in "\"'#" else "", text)
    while match := re.search(r"#\[cfg\(test\)\]\s*(?:#\[[^]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?mod\s+\w+\s*\{", text):
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        text = text[: match.start()] + text[end:]
    return text


def paths_of_use(tree):
    """The paths of a `use` tree, each as a list of names."""
    tree = tree.strip()
    if "{" not in tree:
        return [[part.strip() for part in re.split(r"\s+as\s+", tree)[0].split("::")]]
    head, _, rest = tree.partition("{")
    head = [part.strip() for part in head.split("::") if part.strip()]
    parts, depth, part = [], 0, ""
    for char in rest[: rest.rindex("}")]:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += char
    parts.append(part)
    return [head + path for part in parts if part.strip() for path in paths_of_use(part)]


def imports(source):
    """The modules of a crate with their files, and the imports between them."""
    files = {}
    for path in sorted(source.rglob("*.rs")):
        module = path.relative_to(source).with_suffix("").parts
        module = module[:-1] if module[-1] in ("mod", "lib", "main") else module
        files[module] = path
    edges = {}
    for module, path in files.items():
        code = code_of(path.read_text())
        found = []
        for use in re.finditer(r"\buse\s+([^;]+);", code):
            found += paths_of_use(use.group(1))
        code = re.sub(r"\buse\s+[^;]+;", "", code)
        found += [path.group(0).split("::") for path in re.finditer(r"\$?\b[A-Za-z_]\w*(?:::\w+)+", code)]
        children = {other[-1] for other in files if other[:-1] == module and other}
        used = set()
        for names in found:
            names = [name.lstrip("$") for name in names]
            if names[0] == "crate":
                target = names[1:]
            elif names[0] == "self":
                target = list(module) + names[1:]
            elif names[0] == "super":
                supers = sum(1 for _ in iter(lambda n=iter(names): next(n, "") == "super", False))
                target = list(module)[: len(module) - supers] + names[supers:]
            elif names[0] in children:
                target = list(module) + names
            else:
                continue
            while target and tuple(target) not in files:
                target.pop()
            if tuple(target) != module:
                used.add(tuple(target))
        edges[module] = used
    return files, edges


def cycles(edges):
    """The groups of modules that import each other, directly or around (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while True:
                group.append(stack.pop())
                if group[-1] == node:
                    break
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def crate_faults(crate, root):
    """What is wrong in one crate."""
    source = root / "filter" / crate / "src"
    files, edges = imports(source)
    name = lambda module: str(files[module].relative_to(root))
    faults = [f"{', '.join(map(name, group))} import each other" for group in cycles(edges)]
    layers = LAYERS.get(crate)
    rank = {entry: level for level, entry in enumerate(layers or [])}
    for module, used in edges.items():
        if layers and module and module[0] not in rank:
            faults.append(f"{name(module)}: {module[0]} is in no layer of {pathlib.Path(__file__).name}")
            continue
        for other in used:
            # The root only names the folders.
            if layers and module and other and module[0] != other[0] and rank[module[0]] > rank.get(other[0], -1):
                faults.append(f"{name(module)} may not import {name(other)}, which is above it")
    for path in sorted(source.rglob("*.rs")):
        text = path.read_text()
        place = str(path.relative_to(source))
        if (lines := text.count("\n")) > MAX_LINES:
            faults.append(f"{path.relative_to(root)} has {lines} lines, at most {MAX_LINES} are allowed")
        if re.search(r"\bunsafe\b", code_of(text)) and not any(
            place == allowed or place.startswith(allowed + "/") for allowed in UNSAFE.get(crate, [])
        ):
            faults.append(f"{path.relative_to(root)} may not contain unsafe code")
    return faults


def package_faults(root):
    """Which packages depend on one that they may not depend on."""
    faults = []
    metadata = json.loads(
        subprocess.check_output(["cargo", "metadata", "--format-version=1", "--locked", "--no-deps"], cwd=root)
    )
    for package in metadata["packages"]:
        name = package["name"]
        used = {dependency["name"] for dependency in package["dependencies"] if dependency["name"] in PACKAGES}
        if name not in PACKAGES or not used <= PACKAGES[name]:
            faults.append(f"{name} may not depend on {', '.join(sorted(used))}")
        if name == "sidespan-core":
            linked = {d["name"] for d in package["dependencies"] if d["kind"] is None and not d["optional"]}
            if not linked <= CORE_LINKS:
                faults.append(f"{name} may not link {', '.join(sorted(linked - CORE_LINKS))}")
    return faults


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    faults = [fault for crate in LAYERS for fault in crate_faults(crate, root)]
    sys.exit("\n".join(faults + package_faults(root)) or None)


if __name__ == "__main__":
    main()
