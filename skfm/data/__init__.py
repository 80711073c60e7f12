"""From what users pass to matrices of numbers: columns, categories, targets, units."""
