"""Checkpoints: Hugging Face folders quantized into forms that transformers and vLLM load."""
