"""From checked data to fitted attributes: the problem, the loop over iterations, checkpoints, streams."""
