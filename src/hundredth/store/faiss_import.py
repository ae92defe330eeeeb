"""faiss, imported so that it can share a process with torch on macOS.

There each brings an OpenMP runtime of its own, and the second to start ends the process ("OMP: Error #15"), unless
it is told that it may be there. With one thread it never starts threads beside the other's, which would crash.
See https://github.com/faiss-wheels/faiss-wheels/issues/73. Elsewhere nothing is done.
"""

import os
import sys

_SHARED = sys.platform == "darwin"
if _SHARED:
    os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")

import faiss  # noqa: E402

if _SHARED:
    faiss.omp_set_num_threads(1)

__all__ = ["faiss"]
