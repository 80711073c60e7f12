"""What a fitted estimator holds, and what it predicts."""
