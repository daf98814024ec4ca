"""Genetic samplers whose proposals follow from the trials and the seed alone, so that a study can be rebuilt.

Optuna's own samplers store a generation's parents in the study; with the study they lose the parents'
order and the randomness that chose them.
"""

from __future__ import annotations

import warnings

import optuna
from optuna.trial import FrozenTrial

# of one generation: a search has some hundreds of trials, and Optuna's default is 50
POPULATION = 30


class Nsga2(optuna.samplers.NSGAIISampler):
    """NSGA-II whose parents have the same order, whether they were chosen just now or before."""

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        parents = super().get_parent_population(study, generation)
        return sorted(parents, key=lambda trial: trial.number)


class Nsga3(optuna.samplers.NSGAIIISampler):
    """NSGA-III with the same order of parents; those of each generation are chosen with a seed of their own."""

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        parents = super().get_parent_population(study, generation)
        return sorted(parents, key=lambda trial: trial.number)

    def select_parent(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        return super(Nsga3, _nsga3(generation)).select_parent(study, generation)


GENETIC = ("nsga2", "nsga3")


def make_genetic_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Make one of the samplers named in GENETIC."""
    return Nsga2(population_size=POPULATION, seed=seed) if name == "nsga2" else _nsga3(seed)


def _nsga3(seed: int) -> Nsga3:
    with warnings.catch_warnings():
        # a word to those who write against its interface, not to those who search
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return Nsga3(population_size=POPULATION, seed=seed)
