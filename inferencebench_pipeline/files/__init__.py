"""Files on a disk that is not trusted: atomic writes, bounded reads, locks, and sealed content."""
