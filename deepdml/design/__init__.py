"""Formula and data -> arrays, with numpy, pandas and formulaic; never torch."""
