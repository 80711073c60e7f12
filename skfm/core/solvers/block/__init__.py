"""Block solvers: closed-form updates of whole columns."""
