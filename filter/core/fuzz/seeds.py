#!/usr/bin/env python3
"""Writes the rows of tests/vectors as seeds into corpus/<target>/."""

import hashlib
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parents[2] / "tests" / "vectors"


def table(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


def raw(value):
    return value.encode() if isinstance(value, str) else bytes.fromhex(value["hex"])


def write(target, seed):
    directory = HERE / "corpus" / target
    directory.mkdir(parents=True, exist_ok=True)
    (directory / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


def header_rows():
    for name in ("w3c", "tracestate", "b3", "propagation"):
        for row in table(name):
            yield [(name.lower(), raw(value)) for name, value in row["headers"]]


def main():
    for headers in header_rows():
        for name, value in headers:
            if name == "traceparent":
                write("traceparent", value)
        states = [value for name, value in headers if name == "tracestate"]
        if states:
            write("tracestate", b"\n".join(states))
        write("b3", b"\n".join(name.encode() + b":" + value for name, value in headers))
    for row in table("config"):
        if "text" in row:
            write("configuration", raw(row["text"]))
        else:
            write("configuration", json.dumps(row["document"]).encode())
    for directory in sorted((HERE / "corpus").iterdir()):
        print(directory.name, sum(1 for _ in directory.iterdir()))


if __name__ == "__main__":
    main()
