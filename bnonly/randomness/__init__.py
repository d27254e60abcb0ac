"""A seed becomes numbers (`bngen`), and numbers become a network's initial values (`initialise`)."""
