"""Training one group of a random network: the LightningModule, the quiet Trainer around it, checkpoints, tracking."""
