"""The scheduler: owns decisions. Which expert lies in which slot, who goes when one must, who is loaded next."""
