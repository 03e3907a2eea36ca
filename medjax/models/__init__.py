"""Networks as linen modules, usable alone: each module of this package states its sizes and its paper."""
