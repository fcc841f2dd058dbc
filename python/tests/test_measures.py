"""The measures of a model: definitions on runs without segments, and places and edges as `baton eval` has them."""

import math

import pytest

models = pytest.importorskip("models")
torch = models.torch
import baton  # noqa: E402
from baton import measures  # noqa: E402
from baton.transformers import stream  # noqa: E402


@pytest.fixture(params=models.KINDS)
def model(request):
    return baton.accelerate(models.tiny(request.param))


TEXT = models.ids(1, 400, 7)[0]


def test_perplexity_by_position(model):
    found = measures.perplexity_by_position(model, TEXT, train_length=16, length=100, sequences=3, segment=7)
    assert found["positions"] == [8, 16, 32, 64, 100] and found["starts"] == [0, 149, 299]
    losses = []
    for start in found["starts"]:
        logits = stream(model, None, input_ids=TEXT[start : start + 100][None])[0].logits[0]
        losses.append(torch.nn.functional.cross_entropy(logits, TEXT[start + 1 : start + 101], reduction="none"))
    losses = torch.stack(losses).double()
    first = 0
    for edge, loss, ends in zip(found["positions"], found["loss"], found["interval"]):
        means = losses[:, first:edge].mean(1)
        assert abs(loss - means.mean()) < 1e-5
        assert abs(ends[1] - loss - 4.303 * means.std() / math.sqrt(3)) < 1e-4
        first = edge
    _, states = stream(model, None, input_ids=TEXT[:5][None])
    begun = measures.perplexity_by_position(
        model, TEXT[5:], train_length=16, length=100, sequences=1, initial_state=states
    )
    whole = measures.perplexity_by_position(model, TEXT, train_length=105, length=105, sequences=1)
    assert begun["interval"] is None and abs(begun["loss"][0] - whole["loss"][0]) < 1


def test_states_over_time(model):
    found = measures.states_over_time(model, TEXT, train_length=10, length=50, sequences=2, times=5, segment=7)
    assert found["times"] == [1, 3, 7, 10, 19, 50]
    _, states = stream(model, None, input_ids=torch.stack([TEXT[start : start + 50] for start in found["starts"]]))
    every = torch.cat([layer.recurrence.double().flatten() for layer in states])
    assert abs(found["std"][-1] / every.std(correction=0) - 1) < 1e-4
    first = states[0].recurrence
    layer = found["layers"][0]
    assert abs(layer["head_max"][-1][1] - first[:, 1].abs().max()) < 1e-5
    assert abs(layer["head_norm"][-1][1] - first[:, 1].flatten(1).norm(dim=1).mean()) < 1e-4
    assert len(layer["head_mean"][0]) == first.shape[1]


@pytest.mark.parametrize(
    "spacing, cuts", [("ends", [1, 6, 32, 58, 63]), ("log", [1, 2, 5, 12, 28, 63]), ("linear", [9, 18, 27, 36, 45, 54])]
)
def test_effective_remembrance(model, spacing, cuts):
    found = measures.effective_remembrance(model, TEXT, length=64, sequences=3, cuts=6, spacing=spacing, segment=11)
    assert found["cuts"] == cuts

    def at_end(first, last):
        return stream(model, None, input_ids=TEXT[first:last][None])[0].logits[0, -1].double().softmax(-1)

    for cut, distance in zip(found["cuts"], found["distance"]):
        each = [0.5 * (at_end(s, s + 64) - at_end(s + cut, s + 64)).abs().sum() for s in found["starts"]]
        assert abs(distance - sum(each) / 3) < 1e-5


def test_what_cannot_be_measured(model):
    for call, said in [
        (
            lambda: measures.perplexity_by_position(model, TEXT, train_length=16, length=400, sequences=1),
            "in a text of 400",
        ),
        (lambda: measures.perplexity_by_position(model, TEXT, train_length=0, length=9, sequences=1), "train_length 0"),
        (lambda: measures.effective_remembrance(model, TEXT, length=9, sequences=1, cuts=9), "9 cuts of 9"),
        (lambda: measures.effective_remembrance(model, TEXT, length=9, sequences=1, cuts=2, spacing="even"), "'even'"),
    ]:
        with pytest.raises(ValueError, match=said):
            call()


def test_edges_double_through_the_training_length():
    for arguments, edges in [
        ((64, 500, 1), [8, 16, 32, 64, 128, 256, 500]),
        ((100, 400, 1), [13, 25, 50, 100, 200, 400]),
        ((64, 128, 2), [8, 11, 16, 23, 32, 45, 64, 91, 128]),
        ((4, 4, 1), [4]),
    ]:
        assert measures._edges(*arguments) == edges
