"""Third-party front-end files: ``check`` them against the lock (offline), or ``update`` them (needs npm).

vendor.json pins each package with its version, licence and the files taken from it; vendor.lock.json
holds the hash of every file that was taken. Both and the files are committed, so running Kanghu needs
neither npm nor a network.

    python scripts/vendor.py check
    python scripts/vendor.py update
"""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "static" / "vendor"
MANIFEST = ROOT / "vendor.json"
LOCK = ROOT / "vendor.lock.json"

# Every Tabler icon begins with this invisible square; how lines are drawn is said once, in parts.css.
_SQUARE = re.compile(r'<path stroke="none" d="M0 0h24v24H0z" fill="none"\s*/>')


def problems() -> list[str]:
    """Every vendored file that is missing, changed, or not in the lock: one sentence each."""
    locked: dict[str, Any] = json.loads(LOCK.read_text())
    present = {path.name for path in VENDOR.iterdir()}
    found = [f"{name} is in the lock but not in static/vendor" for name in sorted(locked.keys() - present)]
    found += [f"{name} is in static/vendor but not in the lock" for name in sorted(present - locked.keys())]
    found += [
        f"{name} is not the file that was locked"
        for name in sorted(locked.keys() & present)
        if sha256((VENDOR / name).read_bytes()) != locked[name]["sha256"]
    ]
    return found


def update() -> None:
    """Fetch every pinned package anew and write the files and the lock."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    lock = {}
    for package in json.loads(MANIFEST.read_text())["packages"]:
        for name, content in fetched(package).items():
            (VENDOR / name).write_bytes(content)
            lock[name] = {
                "package": package["name"],
                "version": package["version"],
                "licence": package["licence"],
                "sha256": sha256(content),
                "bytes": len(content),
            }
    LOCK.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n")


def fetched(package: dict[str, Any]) -> dict[str, bytes]:
    """The files that the manifest takes from one npm package, by the name they get here."""
    with tempfile.TemporaryDirectory() as folder:
        pinned = f"{package['name']}@{package['version']}"
        packed = subprocess.run(
            ["npm", "pack", "--silent", pinned], cwd=folder, check=True, capture_output=True, text=True
        )
        with tarfile.open(Path(folder) / packed.stdout.split()[-1]) as archive:
            files = {name: read(archive, source) for source, name in package["files"].items()}
            if "sprite" in package:
                files[package["sprite"]["file"]] = sprite(archive, package["sprite"])
    return {name: without_source_map(content) if name.endswith(".js") else content for name, content in files.items()}


def sprite(archive: tarfile.TarFile, wanted: dict[str, Any]) -> bytes:
    """One SVG file with a symbol for every icon the manifest names."""
    symbols = []
    for name in sorted(wanted["icons"]):
        drawing = read(archive, f"{wanted['folder']}/{name}.svg").decode()
        inside = re.search(r"<svg[^>]*>(.*)</svg>", drawing, re.DOTALL)
        assert inside is not None, name
        body = re.sub(r"\s*\n\s*", "", _SQUARE.sub("", inside[1]))
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{body}</symbol>')
    return ('<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n").encode()


def read(archive: tarfile.TarFile, path: str) -> bytes:
    member = archive.extractfile(f"package/{path}")
    assert member is not None, path
    return member.read()


def without_source_map(script: bytes) -> bytes:
    """The map is not served, and browsers' developer tools would ask for it in vain."""
    return re.sub(rb"\n?//# sourceMappingURL=\S*", b"", script)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main(command: str) -> int:
    if command == "update":
        update()
    elif command != "check":
        print(__doc__)
        return 2
    found = problems()
    print("\n".join(found) or "static/vendor is as the lock says")
    return len(found) > 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
