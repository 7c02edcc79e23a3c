"""The `transformers` engine: continuous batching on a Hugging Face causal LM."""
