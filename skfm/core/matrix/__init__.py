"""Matrices of the data: sparse designs, batches, tiles, fields."""
