"""The choice of files for large-file storage: ``.gitattributes`` patterns and a size limit."""

from __future__ import annotations

import fnmatch

REGULAR_LIMIT_BYTES = 10 * 1024 * 1024
"""Files above this size go to LFS whatever they are called, as on the Hub."""

_LFS_PATTERN_LIST = """
*.7z *.arrow *.avro *.bin *.bz2 *.ckpt *.ftz *.gguf *.gz *.h5 *.joblib *.lz4 *.model *.msgpack
*.npy *.npz *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors *.tar
*.tflite *.tgz *.wasm *.xz *.zip *.zst *.png *.jpg *.jpeg *.webp *.gif *.mp4 *.wav *.mp3
"""
_LFS_PATTERNS = _LFS_PATTERN_LIST.split()
DEFAULT_GITATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _LFS_PATTERNS
)
"""The ``.gitattributes`` of a new repository."""


def goes_to_lfs(path: str, size_bytes: int, gitattributes: str) -> bool:
    """Return whether a file is stored as LFS object under the repository's ``.gitattributes``."""
    if size_bytes == 0:
        return False
    if size_bytes > REGULAR_LIMIT_BYTES:
        return True
    name = path.rsplit("/", 1)[-1]
    for line in gitattributes.splitlines():
        pattern, *attributes = line.split() or [""]
        if "filter=lfs" in attributes and (
            fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(path, pattern)
        ):
            return True
    return False
