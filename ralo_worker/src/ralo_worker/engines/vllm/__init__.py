"""The `vllm` engine: vLLM's asynchronous client behind our contract."""
