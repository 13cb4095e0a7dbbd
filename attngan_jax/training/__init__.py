"""Training: one loop, two tasks (DAMSM, then AttnGAN), the mesh, checkpoints, metric files."""
