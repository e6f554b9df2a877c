"""Numba: the same files and functions as kernels.reference, compiled for this machine.

Every `encode_<type>(x, threads=0)` takes float32 (n_blocks, elements) and gives uint8 (n_blocks, bytes), every
`decode_<type>(blocks, threads=0)` the reverse, and `measure.measure(x, y, threads=0)` two float32 arrays of one shape.
Encoders that search take `importance` after x, float32 (blocks_per_row, elements) of one row, or None.
Whole arrays are passed: the functions split them over threads themselves (`parallel.run_chunked`). `threads=0` means
every core this process may use. The result does not depend on the number of threads.

The compiled functions are serial and release the GIL; a pool of Python threads runs them on ranges of blocks. Numba's
own parallel loops are not used: they take several times as long to compile, and their fallback threading layer ends the
process when two threads of it enter at once.

Compiled code is kept on disk, in the user's cache directory unless NUMBA_CACHE_DIR says otherwise, in a folder named
after the contents of these sources: numba itself notices a change only in the file that holds the entry function, not
in the functions inlined into it.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import platformdirs


def _source_digest() -> str:
    """A short digest of every source in this folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _writable_folder() -> Path:
    """The folder for compiled code; where the user's cache cannot be written, one that ends with this process."""
    folder = platformdirs.user_cache_path("bitwright") / "numba" / _source_digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    temporary = tempfile.mkdtemp(prefix="bitwright-numba-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


def _keep_compiled_code() -> None:
    """Point numba's cache at the user's cache directory; where numba is imported already, through its live setting."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    folder = str(_writable_folder())
    os.environ["NUMBA_CACHE_DIR"] = folder
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = folder


_keep_compiled_code()
