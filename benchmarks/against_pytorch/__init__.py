"""AttnGAN beside the same work in PyTorch, whose side is written for this comparison."""
