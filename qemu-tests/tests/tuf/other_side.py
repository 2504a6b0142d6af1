"""The other side of the interoperability test: python-tuf makes a repository, or reads one.

make DIR            writes a repository with Ed25519 keys and a delegation, in two versions
check DIR PATH ...  reads a repository as a client does, prints length and SHA-256 of each target
"""

import hashlib
import os
import sys
from datetime import datetime, timedelta, timezone

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    MetaFile,
    Metadata,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient import FetcherInterface, Updater

CONTENTS = {"top.txt": b"by the top", "stable/a.json": b"by the channel", "hashed/b.json": b"by the prefix"}


def make(directory):
    expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
    names = ["root", "root2", "targets", "snapshot", "timestamp", "stable", "hashed"]
    keys = {name: CryptoSigner.generate_ed25519() for name in names}

    def write(name, metadata, *signers):
        for signer in signers:
            metadata.sign(keys[signer], append=True)
        path = os.path.join(directory, "metadata", name)
        # Once compact, once with spaces: what is signed is the same.
        data = metadata.to_bytes(JSONSerializer(compact=metadata.signed.version == 1))
        with open(path, "wb") as file:
            file.write(data)
        return data

    os.makedirs(os.path.join(directory, "metadata"))
    root = Root(expires=expires)
    for role in ["root", "targets", "snapshot", "timestamp"]:
        root.add_key(keys[role].public_key, role)
    write("1.root.json", Metadata(root), "root")
    root.version = 2
    root.add_key(keys["root2"].public_key, "root")
    root.roles["root"].threshold = 2
    write("2.root.json", Metadata(root), "root", "root2")

    everything = {path: TargetFile.from_data(path, data, ["sha256", "sha512"]) for path, data in CONTENTS.items()}
    stable = DelegatedRole("stable", [keys["stable"].public_key.keyid], 1, True, paths=["stable/*"])
    prefix = everything["hashed/b.json"]
    digest = hashlib.sha256(prefix.path.encode()).hexdigest()
    hashed = DelegatedRole(
        "hashed", [keys["hashed"].public_key.keyid], 1, False, path_hash_prefixes=[digest[:2], "00"]
    )
    delegations = Delegations(
        {keys[name].public_key.keyid: keys[name].public_key for name in ["stable", "hashed"]},
        {"stable": stable, "hashed": hashed},
    )
    meta = {}
    for name, path in [("stable", "stable/a.json"), ("hashed", "hashed/b.json")]:
        data = write(f"1.{name}.json", Metadata(Targets(expires=expires, targets={path: everything[path]})), name)
        meta[f"{name}.json"] = MetaFile.from_data(1, data, ["sha256"])
    for version in [1, 2]:
        targets = Targets(version=version, expires=expires, delegations=delegations)
        targets.targets["top.txt"] = everything["top.txt"]
        data = write(f"{version}.targets.json", Metadata(targets), "targets")
        meta["targets.json"] = MetaFile.from_data(version, data, ["sha512"])
        data = write(f"{version}.snapshot.json", Metadata(Snapshot(version=version, expires=expires, meta=meta)), "snapshot")
        stated = MetaFile.from_data(version, data, ["sha256", "sha512"])
        write("timestamp.json", Metadata(Timestamp(version=version, expires=expires, snapshot_meta=stated)), "timestamp")


class Files(FetcherInterface):
    """A repository on the disk."""

    def _fetch(self, url):
        path = url.removeprefix("file://")
        if not os.path.exists(path):
            raise DownloadHTTPError("no such file", 404)
        with open(path, "rb") as file:
            yield file.read()


def check(directory, paths):
    metadata = os.path.join(directory, "metadata")
    cache = os.path.join(directory, "python-tuf")
    os.makedirs(cache)
    with open(os.path.join(metadata, "1.root.json"), "rb") as file:
        root = file.read()
    with open(os.path.join(cache, "root.json"), "wb") as file:
        file.write(root)
    updater = Updater(cache, f"file://{metadata}/", fetcher=Files())
    updater.refresh()
    for path in paths:
        target = updater.get_targetinfo(path)
        print(path, f"{target.length} {target.hashes['sha256']}" if target else "none")


if sys.argv[1] == "make":
    make(sys.argv[2])
else:
    check(sys.argv[2], sys.argv[3:])
