"""Minibatch solvers: stochastic gradients."""
