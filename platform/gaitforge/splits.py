"""Give people their roles, train, validation and confirm: by fractions, by name, or by folds.

People are split, never recordings: two movements of one person in two roles would let a model
recognise the person.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitforge.records.split import ROLES, Split
from gaitforge.work import fingerprint

RULES = ("fractions", "people", "folds", "leave_one_person_out")


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitSettings:
    """How people get their roles."""

    rule: str = "fractions"
    """The rule that gives people their roles: fractions, people, folds or leave_one_person_out."""
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    """Shares of train, validation and confirm, for the rule "fractions"."""
    train: tuple[str, ...] = ()
    """Exact ids of the people who train, for the rule "people"."""
    validation: tuple[str, ...] = ()
    """Exact ids of the people who validate, for the rule "people"."""
    confirm: tuple[str, ...] = ()
    """Exact ids of the people who confirm, for the rule "people"."""
    folds: int = 5
    """Number of folds, for the rule "folds": everybody is confirmed once."""
    validation_fraction: float = 0.2
    """Share of the people outside confirm that validate, for "folds" and "leave_one_person_out";
    at least one does.
    """
    seed: int = 0
    """Seed of who gets which role."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(
                f"split.rule is '{self.rule}', but must be one of {', '.join(RULES)}; choose one."
            )
        if len(self.fractions) != 3 or not all(0 < share < 1 for share in self.fractions):
            raise ValueError(
                f"split.fractions are {list(self.fractions)}, but must be three numbers between "
                "0 and 1, for train, validation and confirm; give all three."
            )
        if abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(
                f"split.fractions sum to {sum(self.fractions):g}, but must sum to 1; change one."
            )
        if self.folds < 2:
            raise ValueError(f"split.folds is {self.folds}, but must be at least 2; raise it.")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"split.validation_fraction is {self.validation_fraction}, but must lie between "
                "0 and 1; 0.2 is usual."
            )
        if self.seed < 0:
            raise ValueError(f"split.seed is {self.seed}, but must not be negative; use 0.")
        self._check_names()

    def _check_names(self) -> None:
        named = {"train": self.train, "validation": self.validation, "confirm": self.confirm}
        if self.rule != "people":
            if any(named.values()):
                raise ValueError(
                    f"split.rule is '{self.rule}', but people are named for a role; "
                    'set rule = "people" or remove the names.'
                )
            return
        role_of: dict[str, str] = {}
        for role, people in named.items():
            if not people:
                raise ValueError(
                    f"split.{role} names nobody, but the rule 'people' needs at least one person "
                    "in each role; name one."
                )
            for person in people:
                if person in role_of:
                    raise ValueError(
                        f"Person '{person}' is named in split.{role_of[person]} and in "
                        f"split.{role}, but a person has one role; remove one of the two."
                    )
                role_of[person] = role


def make_splits(
    settings: SplitSettings,
    labels_by_person: Mapping[str, Collection[str]],
    store_fingerprint: str,
    known: Sequence[Split] = (),
) -> list[Split]:
    """Make the splits of a rule, named "main", or "fold-1-of-5" …, or "without-<person>" …

    People are drawn stratified by their set of labels: where a person has one class, by class;
    where everybody has every class, from one stratum. The same seed and people give the same
    splits. Every stratum with enough people is represented in every role, even where the sizes
    then miss the fractions.

    Each class must have people in train, validation and confirm. In "folds" and
    "leave_one_person_out" this holds for train and validation only: the confirm role of one such
    split may lack classes, and the pool of all splits holds everybody once.

    Of `known`, the splits that there were before, those of the same rule and seed are held to: whoever had
    a role in them keeps it, and only people who are new are dealt, to where their class lacks people most.

    Raises ValueError where a class has no person in a role or people are too few for the folds,
    KeyError where a named person is not in the store.
    """
    if not labels_by_person:
        raise ValueError("The store has no people, but a split needs some; ingest recordings.")
    if settings.rule == "people":
        roles = _named_roles(settings, labels_by_person)
        _check_classes("main", roles, labels_by_person, ROLES, "move one of them there")
        return [_split("main", settings, store_fingerprint, roles)]
    before = _find_kept(settings, labels_by_person, known)
    if settings.rule == "fractions":
        roles = _covering_roles(
            "main",
            lambda rng: _draw_roles(
                labels_by_person,
                dict(zip(ROLES, settings.fractions, strict=True)),
                rng,
                before.get("main", {}),
            ),
            labels_by_person,
            required=ROLES,
            seed=(settings.seed,),
            remedy="choose another seed, which deals everybody anew, or name people by hand",
        )
        return [_split("main", settings, store_fingerprint, roles)]
    splits = []
    for number, (name, held_out) in enumerate(_held_out(settings, labels_by_person, before)):
        kept = before.get(name, {})
        roles = _roles_without(name, held_out, settings, labels_by_person, number, kept)
        splits.append(_split(name, settings, store_fingerprint, roles))
    return splits


def say_kept(split: Split, before: Split | None) -> str:
    """Say how many people keep the role of an earlier split, and how many are new; "" where that tells nothing."""
    if before is None or set(before.roles) == set(split.roles):
        return ""
    if any(split.roles.get(person, role) != role for person, role in before.roles.items()):
        return ""  # dealt by another rule
    new, gone = len(split.roles.keys() - before.roles), len(before.roles.keys() - split.roles)
    said = f"{len(split.roles) - new} keep the role that they had, {new} new"
    return f"; {said}, {gone} not in the store any more" if gone else f"; {said}"


def check_rule(settings: SplitSettings, splits: Sequence[Split], remedy: str) -> None:
    """Raise ValueError, with the remedy, where splits read from files are not those that the settings ask for."""
    asked = _rule(settings)
    for split in splits:
        before = dict(split.rule)
        changed = [key for key in {**asked, **before} if asked.get(key) != before.get(key)]
        if changed:
            key = changed[0]
            raise ValueError(
                f"Split '{split.name}' has split.{key} = {before.get(key)}, but the settings ask for {asked.get(key)}; "
                f"{remedy}."
            )
        if settings.rule == "people":
            named = {person: role for role in ROLES for person in getattr(settings, role)}
            moved = sorted(
                person
                for person in {**named, **split.roles}
                if named.get(person) != split.roles.get(person)
            )
            if moved:
                raise ValueError(
                    f"Person '{moved[0]}' has the role {split.roles.get(moved[0])} in split '{split.name}', but the "
                    f"settings give {named.get(moved[0])}; {remedy}."
                )
    wanted = {"folds": settings.folds, "leave_one_person_out": len(splits[0].roles)}.get(
        settings.rule, 1
    )
    if len(splits) != wanted:
        raise ValueError(
            f"There are {len(splits)} splits, but the settings ask for {wanted}; {remedy}."
        )


def _split(name: str, settings: SplitSettings, store: str, roles: Mapping[str, str]) -> Split:
    return Split(name=name, rule=_rule(settings), store=store, roles=dict(sorted(roles.items())))


def _rule(settings: SplitSettings) -> dict[str, Any]:
    """Return those settings that decide the roles, without the names of people."""
    rule: dict[str, Any] = {"rule": settings.rule}
    match settings.rule:
        case "people":
            pass  # the names are the roles
        case "fractions":
            rule |= {"fractions": list(settings.fractions), "seed": settings.seed}
        case "folds":
            rule |= {"folds": settings.folds}
    if settings.rule in ("folds", "leave_one_person_out"):
        rule |= {"validation_fraction": settings.validation_fraction, "seed": settings.seed}
    return rule


def _named_roles(
    settings: SplitSettings, labels_by_person: Mapping[str, Collection[str]]
) -> dict[str, str]:
    roles: dict[str, str] = {}
    named = {
        "train": settings.train,
        "validation": settings.validation,
        "confirm": settings.confirm,
    }
    for role, people in named.items():
        for person in people:
            if person not in labels_by_person:
                near = difflib.get_close_matches(person, labels_by_person, n=1, cutoff=0)
                raise KeyError(
                    f"Person '{person}' in split.{role} is not in the store; the nearest name "
                    f"there is '{near[0]}': mend the name or remove it."
                )
            roles[person] = role
    return roles


def _find_kept(
    settings: SplitSettings,
    labels_by_person: Mapping[str, Collection[str]],
    known: Sequence[Split],
) -> dict[str, dict[str, str]]:
    """Return who keeps which role, by the name of the split; folds are kept all or none."""
    rule = _rule(settings)
    kept = {
        split.name: {p: role for p, role in split.roles.items() if p in labels_by_person}
        for split in known
        if dict(split.rule) == rule
    }
    whole = settings.rule != "folds" or len(kept) == settings.folds
    return kept if whole else {}


def _held_out(
    settings: SplitSettings,
    labels_by_person: Mapping[str, Collection[str]],
    before: Mapping[str, Mapping[str, str]],
) -> list[tuple[str, list[str]]]:
    """List the name and the confirm people of each split, for the rules "folds" and "leave_one_person_out".

    Raises ValueError where there are more folds than people.
    """
    if settings.rule == "leave_one_person_out":
        return [(f"without-{_file_name(person)}", [person]) for person in sorted(labels_by_person)]
    if settings.folds > len(labels_by_person):
        raise ValueError(
            f"split.folds is {settings.folds}, but the store has {len(labels_by_person)} people "
            "and each fold needs one; lower folds."
        )
    strata = _strata(labels_by_person, np.random.default_rng(settings.seed))
    names = [f"fold-{i + 1}-of-{settings.folds}" for i in range(settings.folds)]
    held_out = {
        name: [person for person, role in before.get(name, {}).items() if role == "confirm"]
        for name in names
    }
    placed = {person for people in held_out.values() for person in people}
    for stratum in strata:
        alike = {name: len(set(held_out[name]).intersection(stratum)) for name in names}
        for person in stratum:
            if person not in placed:
                name = min(names, key=lambda name: (alike[name], len(held_out[name])))
                held_out[name].append(person)
                alike[name] += 1
    return list(held_out.items())


def _file_name(person: str) -> str:
    """Return the person's id where it can name a folder, else a readable form of it that stays unique."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", person)
    return safe if safe == person else f"{safe}-{fingerprint(person)[:6]}"


def _roles_without(
    name: str,
    held_out: Collection[str],
    settings: SplitSettings,
    labels_by_person: Mapping[str, Collection[str]],
    number: int,
    kept: Mapping[str, str],
) -> dict[str, str]:
    """Draw train and validation among the people outside `held_out` without a role; those inside get confirm."""
    others = {
        person: labels for person, labels in labels_by_person.items() if person not in held_out
    }
    shares = {
        "train": 1 - settings.validation_fraction,
        "validation": settings.validation_fraction,
    }
    roles = _covering_roles(
        name,
        lambda rng: _draw_roles(others, shares, rng, kept),
        labels_by_person,
        required=("train", "validation"),
        seed=(settings.seed, number),
        remedy="use more folds or another seed",
    )
    return roles | dict.fromkeys(held_out, "confirm")


def _covering_roles(
    name: str,
    draw: Callable[[np.random.Generator], dict[str, str]],
    labels_by_person: Mapping[str, Collection[str]],
    *,
    required: Sequence[str],
    seed: tuple[int, ...],
    remedy: str,
) -> dict[str, str]:
    """Draw roles until every class has people in every required role, at most 100 times.

    Strata make the first draw succeed where a person has one class. Where almost every person has a set of
    labels of their own, strata hold one person and chance decides: hence a few draws. Raises ValueError,
    with the remedy, where all fail.
    """
    draws = 100
    for attempt in range(draws):
        roles = draw(np.random.default_rng([*seed, attempt]))
        if _uncovered(roles, labels_by_person, required) is None:
            return roles
    _check_classes(name, roles, labels_by_person, required, remedy)
    return roles


def _uncovered(
    roles: Mapping[str, str],
    labels_by_person: Mapping[str, Collection[str]],
    required: Sequence[str],
) -> tuple[str, str] | None:
    """Find the first class, rarest first, that nobody of a required role has; return it and that role.

    Returns None where every class is covered.
    """
    people_with: dict[str, list[str]] = {}
    for person, labels in labels_by_person.items():
        for label in labels:
            people_with.setdefault(label, []).append(person)
    for label in sorted(people_with, key=lambda label: (len(people_with[label]), label)):
        present = {roles.get(person) for person in people_with[label]}
        for role in required:
            if role not in present:
                return label, role
    return None


def _check_classes(
    name: str,
    roles: Mapping[str, str],
    labels_by_person: Mapping[str, Collection[str]],
    required: Sequence[str],
    remedy: str,
) -> None:
    """Raise ValueError where a class has nobody in a required role.

    `remedy` is the advice where the class has enough people for all roles.
    """
    missing = _uncovered(roles, labels_by_person, required)
    if missing is None:
        return
    label, role = missing
    owners = sorted(person for person, labels in labels_by_person.items() if label in labels)
    # three for folds as well, where only two roles are required: confirm takes one of them away
    needed = len(ROLES)
    shown = ", ".join(owners[:4]) + (", …" if len(owners) > 4 else "")
    have = "1 person has it" if len(owners) == 1 else f"{len(owners)} people have it"
    if len(owners) < needed:
        remedy = f"record at least {needed} people with it, join it with another class, or omit it"
    raise ValueError(
        f"Class '{label}' has nobody in the {role} role of split '{name}': {have} ({shown}), but "
        f"each of {', '.join(required)} needs one; {remedy}."
    )


def _strata(
    labels_by_person: Mapping[str, Collection[str]], rng: np.random.Generator
) -> list[list[str]]:
    """Group people by their set of labels; groups, and people in a group, are in random order."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for person in sorted(labels_by_person):
        groups.setdefault(tuple(sorted(set(labels_by_person[person]))), []).append(person)
    strata = [
        [people[i] for i in rng.permutation(len(people))] for _, people in sorted(groups.items())
    ]
    return [strata[i] for i in rng.permutation(len(strata))]


def _draw_roles(
    labels_by_person: Mapping[str, Collection[str]],
    shares: Mapping[str, float],
    rng: np.random.Generator,
    kept: Mapping[str, str],
) -> dict[str, str]:
    """Draw roles for the people who are not among `kept`, so that all together come near the shares."""
    strata = _strata(labels_by_person, rng)
    taken_SR = np.array(
        [[sum(kept.get(p) == role for p in people) for role in shares] for people in strata]
    )
    seats_SR = _seats([len(people) for people in strata], list(shares.values()), taken_SR)
    roles: dict[str, str] = {}
    for people, seats_R in zip(strata, seats_SR - taken_SR, strict=True):
        new = [person for person in people if person not in kept]
        order = np.repeat(list(shares), seats_R).tolist()
        roles |= {person: kept[person] for person in people if person in kept}
        roles |= dict(zip(new, order, strict=True))
    return roles


def _seats(
    sizes: Sequence[int], shares: Sequence[float], taken_SR: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many people each stratum gives to each role [S, R], near the shares in each and over all.

    No role gets fewer than have `taken_SR` it already.

    Largest remainder, over all strata at once: the seats that rounding down leaves open go where
    most is missing, among the roles that are still too small in total.
    """
    quota_SR = np.outer(sizes, shares)
    seats_SR = np.maximum([_certain_seats(size, shares) for size in sizes], taken_SR)
    for seats_R, taken_R, quota_R, size in zip(seats_SR, taken_SR, quota_SR, sizes, strict=True):
        while seats_R.sum() > size:  # what is taken leaves too little to be in every role
            seats_R[np.where(seats_R > taken_R, seats_R - quota_R, -np.inf).argmax()] -= 1
    wanted_R = _certain_seats(sum(sizes), shares)
    missing_R = sum(sizes) * np.asarray(shares) - wanted_R
    wanted_R[np.argsort(-missing_R, kind="stable")[: sum(sizes) - wanted_R.sum()]] += 1
    while True:
        is_open_S = seats_SR.sum(axis=1) < np.asarray(sizes)
        if not is_open_S.any():
            return seats_SR
        is_short_R = seats_SR.sum(axis=0) < wanted_R
        # none is short where strata's seats of at least one have used the sizes up
        allowed_SR = is_open_S[:, None] & (is_short_R | ~is_short_R.any())
        missing_SR = np.where(allowed_SR, quota_SR - seats_SR, -np.inf)
        stratum, role = np.unravel_index(int(missing_SR.argmax()), missing_SR.shape)
        seats_SR[stratum, role] += 1


def _certain_seats(size: int, shares: Sequence[float]) -> NDArray[np.int64]:
    """Round a group's shares down to people per role [R], at least one each where the group is big enough."""
    # 1e-9: 0.29 * 100 is a little below 29
    seats_R = np.floor(size * np.asarray(shares) + 1e-9).astype(np.int64)
    if size >= len(shares):
        seats_R = np.maximum(seats_R, 1)
    while seats_R.sum() > size:
        seats_R[seats_R.argmax()] -= 1
    return seats_R
