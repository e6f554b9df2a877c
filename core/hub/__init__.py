"""The Hugging Face Hub: search, model pages, downloads that resume, and what its cache on this computer holds."""
