"""This module is `python -m compute_nb.cli`, the same as the command `compute-nb`."""

from compute_nb.cli import main

if __name__ == "__main__":
    main(prog_name="compute-nb")
