"""Examples in, a published LoRA adapter out: dataset checks, Ray Train fine-tuning and the adapter registry."""
