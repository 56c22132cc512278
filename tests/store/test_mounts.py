from __future__ import annotations

from pathlib import Path

import pytest

from valence_integrations._store.mounts import network_filesystem

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/local\\040disk xfs rw 0 0
overlay /var/lib overlay rw 0 0
bucket /mnt/bucket fuse.s3fs rw 0 0
tmpfs /mnt/bucket/shadow tmpfs rw 0 0
//host/share /srv cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/", None),
        ("/opt/cache", None),
        ("/home/ruth/.cache/valence-integrations", "nfs4"),
        ("/homes/ruth", None),
        ("/home/local disk/cache", None),
        ("/var/lib/x", None),
        ("/mnt/bucket", "fuse.s3fs"),
        ("/mnt/bucket/shadow/x", None),
        ("/srv/x/y", "cifs"),
    ],
)
def test_deepest_mount_decides(directory: str, kind: str | None, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert network_filesystem(Path(directory), mounts) == kind


def test_last_mount_at_a_path_decides(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("a /x ext4 rw 0 0\nb /x nfs rw 0 0\n")
    assert network_filesystem(Path("/x/y"), mounts) == "nfs"


def test_symbolic_links_are_resolved(tmp_path: Path) -> None:
    real, link, mounts = tmp_path / "real", tmp_path / "link", tmp_path / "mounts"
    real.mkdir()
    link.symlink_to(real)
    mounts.write_text(f"a / ext4 rw 0 0\nb {real.resolve()} lustre rw 0 0\n")
    assert network_filesystem(link / "cache", mounts) == "lustre"


def test_missing_mount_table_returns_none(tmp_path: Path) -> None:
    assert network_filesystem(tmp_path, tmp_path / "none") is None
