"""Detect directories on network file systems."""

from __future__ import annotations

from pathlib import Path

__all__ = ["network_filesystem"]

#: Types of network file systems [Linux: /proc/filesystems, mount.fuse]; SQLite's locks and write-ahead log do not work
#: on them across machines [SQLite: "How To Corrupt", "Write-Ahead Logging"].
_NETWORK = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("ocfs2", "orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "wekafs"),
        *("fuse.ceph", "fuse.ceph-fuse", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs"),
        *("fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)


def network_filesystem(directory: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Return the type of the network file system that a directory is on.

    Parameters
    ----------
    directory : Path
        Directory, which need not exist yet.
    mounts : Path
        Linux's mount table.

    Returns
    -------
    str or None
        None for local disks, and if there is no mount table.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = directory.resolve()
    deepest, kind = -1, ""
    for line in lines:
        _, point, type_ = line.split(" ")[:3]
        # The mount table escapes a space as \040.
        mounted = Path(point.encode("latin-1", "replace").decode("unicode_escape") if "\\" in point else point)
        if place.is_relative_to(mounted) and len(mounted.parts) >= deepest:
            deepest, kind = len(mounted.parts), type_
    return kind if kind in _NETWORK else None
