"""Latents that training starts from."""


def encode(vae, pixels, noise, scaling_factor):
    """Latents of pictures, drawn from the posterior by given normal noise: (n, 4, height / 8, width / 8), scaled."""
    posterior = vae.encode(pixels).latent_dist
    return (posterior.mean + posterior.std * noise) * scaling_factor
