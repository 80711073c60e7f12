"""Parameters in other units: on standardized columns and targets, on those of the user, on those of another fit."""

from __future__ import annotations

import torch
from torch import Tensor

from ..matrix.parameters import FMParameters
from ..matrix.standardize import Standardization
from .base import Interaction
from .pairwise import PAIRWISE


def fold(
    columns: Standardization,
    parameters: FMParameters,
    shift: Tensor,
    target_scale: Tensor,
    interaction: Interaction = PAIRWISE,
) -> FMParameters:
    """Turn parameters on x' and (y - shift) / target_scale into parameters on x and y.

    With M = sum_l m_l V_l::

        V_j = v'_j / s_j,  a_j = w'_j / s_j,  w_j = a_j - <V_j, M> + m_j |V_j|^2,
        w0 = w0' - sum_j a_j m_j + 1/2 (|M|^2 - sum_j m_j^2 |V_j|^2)

    Parameters
    ----------
    columns : Standardization
        The map from x to x'.
    parameters : FMParameters
    shift, target_scale : Tensor of shape (n_outputs,)
    interaction : Interaction

    Returns
    -------
    FMParameters
        On the CPU, in float64 except where the units are the same.
    """
    changes = bool((columns.scale != 1).any() or (shift != 0).any() or (target_scale != 1).any())
    if not (changes or columns.centers):
        # Converting a large model would take longer than all the rest.
        return FMParameters(*(t.cpu() for t in parameters))
    intercept, linear, factors = (t.to("cpu", torch.float64) for t in parameters)
    center, scale = columns.center.cpu(), columns.scale.cpu()
    shift, target_scale = shift.to("cpu", torch.float64), target_scale.to("cpu", torch.float64)
    a = linear / scale
    V = factors / scale[:, None]
    if columns.centers:
        intercept, linear = interaction.shift_origin(intercept, a, V, -center)
    else:
        linear = a
    return FMParameters(
        intercept * target_scale + shift,
        linear * target_scale[:, None],
        V * target_scale.sqrt()[:, None, None],
    )


def unfold(
    columns: Standardization,
    parameters: FMParameters,
    shift: Tensor,
    target_scale: Tensor,
    interaction: Interaction = PAIRWISE,
) -> FMParameters:
    """Undo `fold`."""
    intercept, linear, factors = (t.to("cpu", torch.float64) for t in parameters)
    center, scale = columns.center.cpu(), columns.scale.cpu()
    shift, target_scale = shift.to("cpu", torch.float64), target_scale.to("cpu", torch.float64)
    intercept = (intercept - shift) / target_scale
    linear = linear / target_scale[:, None]
    V = factors / target_scale.sqrt()[:, None, None]
    if columns.centers:
        intercept, linear = interaction.shift_origin(intercept, linear, V, center)
    return FMParameters(intercept, linear * scale, V * scale[:, None])


def rebase(
    columns: Standardization,
    parameters: FMParameters,
    other: Standardization,
    interaction: Interaction = PAIRWISE,
) -> FMParameters:
    """Turn parameters on x' into parameters on the x'' of another map.

    This takes no detour through x, whose origin may be far from the centers of both. With
    x' = r x'' + d, r = scale'' / scale' and d = (center'' - center') / scale'::

        v'' = r v',  M = sum_l d_l v'_l,  w''_j = r_j (w'_j + <v'_j, M> - d_j |v'_j|^2),
        w0'' = w0' + sum_j w'_j d_j + 1/2 (|M|^2 - sum_j d_j^2 |v'_j|^2)

    Parameters
    ----------
    columns : Standardization
        The map from x to x'.
    parameters : FMParameters
    other : Standardization
    interaction : Interaction

    Returns
    -------
    FMParameters
        On the CPU in float64.
    """
    intercept, linear, factors = (t.to("cpu", torch.float64) for t in parameters)
    scale, new_scale = columns.scale.cpu(), other.scale.cpu()
    by = (other.center.cpu() - columns.center.cpu()) / scale
    if bool((by != 0).any()):
        intercept, linear = interaction.shift_origin(intercept, linear, factors, by)
    ratio = new_scale / scale
    return FMParameters(intercept, linear * ratio, factors * ratio[:, None])
