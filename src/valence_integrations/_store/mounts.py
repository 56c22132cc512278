"""Whether a directory lies on this machine, or on a network file system."""

from __future__ import annotations

from pathlib import Path

__all__ = ["network_filesystem"]

#: Types of file systems that other machines see too [Linux: /proc/filesystems, mount.fuse]; SQLite's locks and its
#: write-ahead log do not work there for more than one machine [SQLite: "How To Corrupt", "Write-Ahead Logging"].
_NETWORK = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("ocfs2", "orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "wekafs"),
        *("fuse.ceph", "fuse.ceph-fuse", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs"),
        *("fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)


def network_filesystem(directory: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Type of the network file system that a directory lies on.

    Parameters
    ----------
    directory : Path
        It need not exist yet.
    mounts : Path
        Linux's table of what is mounted.

    Returns
    -------
    str or None
        None on this machine's own disks, and where there is no such table.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = directory.resolve()
    deepest, kind = -1, ""
    for line in lines:
        _, point, type_ = line.split(" ")[:3]
        # The table writes a space as \040.
        mounted = Path(point.encode("latin-1", "replace").decode("unicode_escape") if "\\" in point else point)
        if place.is_relative_to(mounted) and len(mounted.parts) >= deepest:
            deepest, kind = len(mounted.parts), type_
    return kind if kind in _NETWORK else None
