"""Bytes that a model keeps of the text read so far: keys and values of attention, and recurrent states.

The rules are llama.cpp's: src/llama-kv-cache.cpp, src/llama-kv-cache-iswa.cpp, src/llama-memory-recurrent.cpp; for
transformers and vLLM see `plain_cache`. This module is light.
"""

from __future__ import annotations

from core.estimate.values import CacheType, Layer, RunOptions
from kernels.blocks import FORMATS

# llama.cpp rounds the number of cells up to a multiple of this (issue 17037).
CELLS = 256
STATE_BYTES = 4


def padded(tokens: int) -> int:
    """Cells that llama.cpp allocates for so many tokens."""
    return -(-tokens // CELLS) * CELLS


def row_bytes(cache_type: CacheType, width: int) -> int:
    """Bytes of one token's row of `width` elements."""
    row = FORMATS[cache_type.upper()]
    return -(-width // row.elements) * row.bytes


def cells(layer: Layer, options: RunOptions, context: int) -> int:
    """Tokens that one layer has room for, all sequences together."""
    together = options.sequences if options.unified else 1
    streams = 1 if options.unified else options.sequences
    everything = padded(context * together)
    if not layer.window or options.full_window:
        return everything * streams
    return padded(min(everything, layer.window * together + options.batch)) * streams


def value_type(options: RunOptions) -> CacheType:
    """The type of cached values: quantized ones need flash attention, else they are kept as f16."""
    quantized = FORMATS[options.cache_type_v.upper()].quantized
    return "f16" if quantized and not options.flash_attention else options.cache_type_v


def layer_cache(layer: Layer, options: RunOptions, context: int) -> int:
    """Bytes of one layer's keys and values in llama.cpp."""
    keys = row_bytes(options.cache_type_k, layer.key_width)
    values = row_bytes(value_type(options), layer.value_width)
    return cells(layer, options, context) * (keys + values)


def layer_state(layer: Layer, options: RunOptions) -> int:
    """Bytes of one layer's recurrent state, which does not grow with the text."""
    return STATE_BYTES * layer.state * options.sequences


def plain_cache(layer: Layer, options: RunOptions, context: int, element_bytes: int) -> int:
    """Bytes of one layer's keys and values in transformers or vLLM, in the model's own type.

    vLLM keeps of multi-head latent attention the latent alone; transformers keeps keys and values of all heads.
    """
    tokens = min(context, layer.window) if layer.window else context
    latent = layer.latent_width if options.runtime == "vllm" else 0
    return tokens * options.sequences * (latent or layer.key_width + layer.value_width) * element_bytes
