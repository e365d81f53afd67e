"""Training a model that draws from words: an autoencoder, then a denoiser of its latents."""
