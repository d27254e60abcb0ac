"""The fast training path: frozen convolutions, BatchNorm, ReLU and residual sums with little memory kept."""
