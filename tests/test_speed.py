"""What is done for speed, as far as a CPU can tell: it changes neither batches nor numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import pytest
import torch
from torch import Tensor, nn

from gaitforge.batch import Batch
from gaitforge.losses import Targets
from tests.test_loop import KD, examples, new_fitting, same
from trainers.training.loop import fit
from trainers.training.speed import (
    Speed,
    choose_home,
    compile_model,
    list_tensors,
    rebuild,
    send_ahead,
)

CPU = torch.device("cpu")


def batches(*, taught: bool = True) -> list[tuple[Batch, Targets]]:
    train = examples(taught=taught)
    return [train.take(torch.tensor([i, i + 1]), torch.tensor([0, 1])) for i in range(4)]


def equal(one: tuple[Batch, Targets], other: tuple[Batch, Targets]) -> bool:
    pairs = zip(list_tensors(*one), list_tensors(*other), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def test_a_cpu_is_left_as_it_is() -> None:
    assert Speed.choose(nn.Linear(2, 2), CPU, steps=10**9) == Speed()
    assert choose_home(10**15, CPU) == CPU


@pytest.mark.parametrize("count", [0, 1, 4])
def test_batches_that_are_sent_ahead_arrive_once_and_in_order(count: int) -> None:
    sent = batches()[:count]
    arrived = list(send_ahead(iter(sent), CPU))
    assert len(arrived) == count
    assert all(equal(*pair) for pair in zip(sent, arrived, strict=True))


def test_the_next_batch_is_under_way_while_one_is_worked_on() -> None:
    taken = []

    def source() -> Iterator[tuple[Batch, Targets]]:
        for number, batch in enumerate(batches()):
            taken.append(number)
            yield batch

    arriving = send_ahead(source(), CPU)
    next(arriving)
    assert taken == [0, 1]
    next(arriving)
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("taught", [True, False])
def test_a_batch_is_rebuilt_from_its_tensors(taught: bool) -> None:
    batch, targets = batches(taught=taught)[0]
    again = rebuild(batch, targets, list_tensors(batch, targets))
    assert equal((batch, targets), again)
    assert (again[1].teacher_logits_BK is None) is not taught


# compiling; "aot_eager" takes the model apart as Inductor does, and needs no compiler


@pytest.mark.slow
def test_a_compiled_model_trains_as_the_model_itself() -> None:
    plain, quick = new_fitting(dropout=0.0), new_fitting(dropout=0.0)
    parallel = compile_model(quick.model, batches()[0][0], bf16=False, backend="aot_eager")
    assert parallel is not quick.model
    for fitting, model in ((plain, None), (quick, parallel)):
        next(fit(fitting, examples(), examples(views=1), KD, parallel=model))
    one, other = plain.tensors(), quick.tensors()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_trying_a_compiled_model_leaves_model_and_generator_as_they_were() -> None:
    fitting = new_fitting()
    before, drawn = fitting.tensors(), torch.get_rng_state()
    compile_model(fitting.model, batches()[0][0], bf16=False, backend="aot_eager")
    assert same(before, fitting.tensors())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(weight.grad is None for weight in fitting.model.parameters())


def test_a_model_that_cannot_be_compiled_is_trained_as_it_is_with_a_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_compiler(graph: object, inputs: list[Tensor]) -> NoReturn:
        raise FileNotFoundError("gcc was not found")

    fitting = new_fitting()
    before = fitting.tensors()
    model = compile_model(fitting.model, batches()[0][0], bf16=False, backend=no_compiler)
    assert model is fitting.model
    assert same(before, fitting.tensors())
    printed = capsys.readouterr().out
    assert "torch.compile fails here" in printed
    assert "gcc was not found" in printed
    assert printed.count("\n") == 1
