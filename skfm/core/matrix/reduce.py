"""Sums over the rows of a problem whose rows may be distributed over several workers.

Solvers sum over the rows that they hold and pass the result to a `Reduction`, which returns the sum over all rows.
This is the only place where a solver exchanges anything: to distribute a solver, derive a class whose `sum` adds the
tensors of all workers (an all-reduce), and give it to the `Problem` of each worker.
"""

from __future__ import annotations

from torch import Tensor


class Reduction:
    """The identity: this process holds all rows.

    A subclass must return the same bits on every worker, because the workers decide by these numbers how they
    continue. All workers call `sum` in the same order with tensors of the same shapes and dtypes.
    """

    def sum(self, local: Tensor) -> Tensor:
        """Return the sum over all rows, given the sum over the rows of this process.

        Parameters
        ----------
        local : Tensor
            Of any shape. The caller does not use it afterwards, so it may be changed in place and returned.

        Returns
        -------
        Tensor
            Of the same shape, dtype and device.
        """
        return local


#: For problems that one process holds.
LOCAL = Reduction()
