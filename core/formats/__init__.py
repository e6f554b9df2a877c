"""Bytes on disk without policy: GGUF, safetensors, atomic writes."""
