"""Fits: one file each, registered with `@register("fit", "name")`."""
