"""Adds the files of a folder to a wheel's dist-info: add_to_wheel.py WHEEL FOLDER RESULT

The names in `licenses/` are also listed in METADATA (PEP 639), a bill that is there already is left out, and RECORD is
written anew. The same files give the same bytes: every entry has the time that the wheel's own entries have.
"""

import base64
import hashlib
import pathlib
import sys
import zipfile

wheel, folder, result = map(pathlib.Path, sys.argv[1:])
with zipfile.ZipFile(wheel) as old:
    entries = [(entry, old.read(entry)) for entry in old.infolist()]
info = next(e.filename.split("/")[0] for e, _ in entries if e.filename.endswith(".dist-info/METADATA"))
added = sorted(path for path in folder.rglob("*") if path.is_file())
licenses = [path.name for path in added if path.parent.name == "licenses"]


def with_licenses(metadata: bytes) -> bytes:
    head, gap, body = metadata.partition(b"\n\n")
    assert b"License-File:" not in head, "the wheel names licences already"
    return head + b"".join(f"\nLicense-File: {name}".encode() for name in licenses) + gap + body


record = []
with zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:

    def put(name: str, data: bytes, like: zipfile.ZipInfo) -> None:
        entry = zipfile.ZipInfo(name, like.date_time)
        entry.external_attr, entry.compress_type = like.external_attr, zipfile.ZIP_DEFLATED
        new.writestr(entry, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(data)}\n")

    for entry, data in entries:
        if entry.filename.startswith((f"{info}/sboms/", f"{info}/RECORD")):
            continue
        put(entry.filename, with_licenses(data) if entry.filename == f"{info}/METADATA" else data, entry)
    like = next(entry for entry, _ in entries if entry.filename == f"{info}/METADATA")
    for path in added:
        put(f"{info}/{path.relative_to(folder).as_posix()}", path.read_bytes(), like)
    put(f"{info}/RECORD", ("".join(record) + f"{info}/RECORD,,\n").encode(), like)
