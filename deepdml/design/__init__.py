"""Formula and data -> arrays, with numpy, pandas and formulaic; never torch.

From the top: data has the arrays of a fit, made as a plan says; specification encodes new data in the same way.

- The formula: lexer, formula (the grammar), names, calls (``pca(emb_*, 64)``).
- The data: table (whatever library they come from) and columns, source (with arrays of the context), arrow and mapped
  (files), labels and roles (what stands beside the data row for row).
- From terms to columns: encoding (through formulaic), blocks (transforms of many columns), assembly (all of x),
  outcome.
- Rows into folds: splits. Refusals: checks. Formulas without a bar: projection.
"""
