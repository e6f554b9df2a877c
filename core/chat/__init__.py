"""Chat with a GGUF through llama.cpp, in a process of its own."""
