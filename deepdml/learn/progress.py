"""One progress bar for a fit: phase, repetition, nets still training, held-out loss, time left."""

from __future__ import annotations

from types import TracebackType

from tqdm import tqdm

from deepdml.terminal import shows_progress


class Progress:
    """A bar that is silent unless wanted; a context manager that is called with what the fit reports.

    Parameters
    ----------
    show : bool or None
        None shows the bar where standard error is a terminal.
    n_folds, n_rep : int
        Shown; the bar's length is `n_rep` repetitions.
    """

    def __init__(self, show: bool | None, n_folds: int, n_rep: int) -> None:
        self.n_folds, self.n_rep = n_folds, n_rep
        self._most = 0
        layout = "{desc} |{bar}| {percentage:3.0f} % [{elapsed}<{remaining}]"
        self._bar = tqdm(total=100.0 * n_rep, disable=not shows_progress(show), bar_format=layout, leave=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def __call__(self, repetition: int, phase: str, step: int, nets: int, loss: float) -> None:
        """Show a stage of a repetition; nets fill most of its share of the bar as they leave the loop."""
        if phase == "nets":
            self._most = max(self._most, nets) if step else nets
            done = 10.0 + 75.0 * (1.0 - nets / max(self._most, 1))
            text = f"{phase}: step {step}, {nets} still training, held-out loss {loss:.4g}"
        else:
            done = {"linear fits": 2.0, "Lambda and psi": 95.0}.get(phase, 88.0)
            text = phase
        prefix = f"repetition {repetition + 1} of {self.n_rep}, " if self.n_rep > 1 else ""
        self._bar.set_description_str(f"{prefix}{self.n_folds} folds, {text}", refresh=False)
        self._bar.n = max(self._bar.n, 100.0 * repetition + done)
        self._bar.refresh()
