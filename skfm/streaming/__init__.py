"""Data sets that are larger than memory: files and streams that are read in chunks, once per epoch."""

from ._arrow import ArrowChunks
from ._chunks import Chunk, Chunks
from ._parquet import ParquetChunks
from ._read_ahead import read_ahead
from ._svmlight import SvmlightChunks

__all__ = ["ArrowChunks", "Chunk", "Chunks", "ParquetChunks", "SvmlightChunks", "read_ahead"]
