"""What a training shows when it has ended: its model, measured as `evaluate` measures one."""

from fedcohort.analyses.evaluate.figures import figures

__all__ = ["figures"]
