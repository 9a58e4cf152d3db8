"""How runs look: the live panel, what stays of it in the notebook, and printed text."""
