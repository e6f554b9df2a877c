"""What a model needs: memory to run it, and memory, disk and time to quantize it; from headers alone, and light."""
