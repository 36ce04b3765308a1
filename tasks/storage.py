"""What a disk refuses, in one sentence: no room, no permission, a read-only file system."""

import errno
import re
from pathlib import Path

from tasks import RelabelError, StorageError

_FULL = "Free some space there and run again; what was there before is unchanged."
_CLOSED = "Give this user the right to write there, or take another folder, and run again."
_REFUSALS = {
    errno.ENOSPC: ("no space left on the disk", _FULL),
    errno.EDQUOT: ("the disk quota of this user used up", _FULL),
    errno.EFBIG: ("a limit on the size of files (`ulimit -f`)", "Lift the limit and run again."),
    errno.EROFS: ("a read-only file system", _CLOSED),
    errno.EACCES: ("no permission", _CLOSED),
    errno.EPERM: ("no permission", _CLOSED),
    errno.EIO: ("an error of the disk", "Look at `dmesg`; if the disk is sound, run again."),
    errno.ENOTDIR: ("a file in the place of a folder", "Remove or rename that file and run again."),
    errno.EMFILE: ("too many open files (`ulimit -n`)", "Lift the limit and run again."),
    errno.ENFILE: ("too many open files on this machine", "End other programs and run again."),
}


def refusal(error: OSError, where: Path | str | None = None) -> StorageError | None:
    """What is said where a file could not be written or made; None where it is another kind of error.

    Args:
        error: what the system said; pyarrow keeps the number in the text alone.
        where: the file; by default the one that the error names.
    """
    number = error.errno
    if number is None and (found := re.search(r"[Ee]rrno (\d+)", str(error))):
        number = int(found[1])
    if number not in _REFUSALS:
        return None
    found_there, advice = _REFUSALS[number]
    place = where or error.filename or "this folder, or the one for temporary files"
    return StorageError(f"{place}: expected to write here, found {found_there}. {advice}")


def sentence_of(error: RelabelError | OSError | MemoryError) -> RelabelError:
    """The same error as one for the person at the terminal.

    Raises:
        OSError: it is of a kind that nobody foresaw; its traceback helps whoever mends the program.
    """
    if isinstance(error, RelabelError):
        return error
    if isinstance(error, MemoryError):
        return RelabelError(
            f"expected memory enough, found too little ({error or 'none left'}). Close other programs, or "
            "use a machine with more."
        )
    said = refusal(error)
    if said is None:
        raise error
    return said
