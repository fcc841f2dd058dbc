"""Initial states in training: the policies, and that what is carried is right however a step is computed."""

import copy
import gc
import io
import warnings
import weakref

import pytest

models = pytest.importorskip("models")
torch, transformers = models.torch, models.transformers
import baton  # noqa: E402
from baton.training import InitialStates, InitialStatesCallback, segments  # noqa: E402
from baton.transformers import ports, stream  # noqa: E402

EVERY = pytest.mark.parametrize("kind", models.KINDS)
POLICIES = [
    "zero",
    "noise:std=0.5",
    "fitted_noise:momentum=0.5,p_zero=0.3",
    "state_passing",
    "state_passing:p_zero=0.5,conv=carried,layers=1",
    "truncated_bptt:conv=carried",
    "0.5*state_passing + 0.3*fitted_noise + 0.2*zero",
    "state_passing:warmup=3,after=1",
]


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def close(ours, theirs, tolerance=2e-5):
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert (ours[name] - gradient).abs().max() <= tolerance * max(1.0, gradient.abs().max().item()), name


def train(model, states, batches, parts=1, steps=None):
    """Gradients of every step, with weights that move."""
    found = []
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for batch in batches[:steps]:
        for part in batch.chunk(parts):
            (model(part, labels=part).loss / parts).backward()
        found.append(gradients(model))
        optimizer.step()
        optimizer.zero_grad()
        states.step()
    return found


@EVERY
def test_truncated_bptt_with_the_convolution_is_one_long_text(kind):
    model = models.tiny(kind)
    text = models.ids(1, 200)[0]
    states = InitialStates(model, "tbptt:conv=carried")
    assert states.in_order
    logits = []
    model.train()
    for batch in segments(text, 2, 12):
        logits.append(model(batch[:, :-1]).logits.detach())
        states.step()
    assert len(logits) == 8
    share = 199 // 2
    whole = [stream(model, None, input_ids=text[slot * share :][:96][None])[0].logits for slot in range(2)]
    assert (torch.cat(logits, 1) - torch.cat(whole)).abs().max() < 5e-5
    # A slot that is begun anew is at zero, the other goes on.
    states.restart([1])
    batch = models.ids(2, 5)
    begun = model(batch).logits
    assert (begun[1] - stream(model, None, input_ids=batch[1:])[0].logits[0]).abs().max() < 2e-5
    assert (begun[0] - stream(model, None, input_ids=batch[:1])[0].logits[0]).abs().max() > 1e-3
    states.detach()
    assert all(port.initial is None for port in ports(model))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_run_is_resumed_with_the_same_bits(policy):
    batches = [models.ids(4, 10, seed) for seed in range(5)]

    def begin():
        model = models.tiny("mamba2")
        states = InitialStates(model, policy, seed=3)
        states.fit(batches)
        return model, states

    model, states = begin()
    whole = train(model, states, batches)
    model, states = begin()
    train(model, states, batches, steps=3)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "states": states.state_dict()}, file)
    file.seek(0)
    kept = torch.load(file, weights_only=True)
    other = models.tiny("mamba2", seed=9)
    other.load_state_dict(kept["model"])
    resumed = InitialStates(other, policy, seed=3)
    resumed.load_state_dict(kept["states"])
    assert resumed.steps == 3
    for ours, theirs in zip(train(other, resumed, batches[3:]), whole[3:]):
        for name in theirs:
            assert torch.equal(ours[name], theirs[name]), name
    with pytest.raises(ValueError, match="initial states with seed 3 given, expected 4"):
        InitialStates(models.tiny("mamba2"), policy, seed=4).load_state_dict(kept["states"])


@EVERY
@pytest.mark.parametrize("policy", ["state_passing:p_zero=0,conv=carried", "fitted_noise:p_zero=0,fit=0"])
def test_checkpointing_and_accumulation_see_no_state_of_their_own_step(kind, policy):
    batches = [models.ids(4, 10, seed) for seed in range(4)]

    def run(parts, checkpointing):
        model = models.tiny(kind)
        if checkpointing:
            model.gradient_checkpointing_enable()
        return train(model.train(), InitialStates(model, policy), batches, parts)

    plain = run(1, False)
    for ours, theirs in zip(run(1, True), plain):
        close(ours, theirs, 1e-6)
    # Noise is drawn anew for every part, so of it only what no draw decides is compared: the first step.
    count = len(plain) if policy.startswith("state_passing") else 1
    for ours, theirs in list(zip(run(2, True), plain))[:count]:
        close(ours, theirs, 1e-4)


def test_backward_after_the_next_forward_is_refused_with_checkpointing():
    model = models.tiny("mamba2").train()
    model.gradient_checkpointing_enable()
    states = InitialStates(model, "state_passing:p_zero=0")
    batch = models.ids(2, 6)
    model(batch, labels=batch).loss.backward()
    states.step()
    losses = [model(batch, labels=batch).loss for _ in range(2)]
    with pytest.raises(RuntimeError, match="run the backward of each forward before the next forward"):
        sum(losses).backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_layer_begins_where_it_began(reentrant):
    batches = [models.ids(2, 6, seed) for seed in range(3)]

    def begun(checkpointing):
        model = models.tiny("mamba2").train()
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
        states = InitialStates(model, "state_passing:p_zero=0,conv=carried")
        model(batches[0])
        states.step()
        return model, states

    def loss(model, batch):
        return model(batch, labels=batch).loss

    def refused(value):
        with pytest.raises(RuntimeError, match="run the backward of each forward before the next forward"):
            value.backward()

    def last():
        """The gradients of the last of two forwards."""
        model, _ = begun(False)
        loss(model, batches[1])
        loss(model, batches[2]).backward()
        return gradients(model)

    model, _ = begun(True)
    one, other = (loss(model, batch) for batch in batches[1:])
    refused(one)
    model.zero_grad()
    other.backward()
    close(gradients(model), last(), 1e-6)

    # Forwards that no gradient goes through, in either mode, change nothing for the backward after them.
    plain, _ = begun(False)
    loss(plain, batches[1]).backward()
    model, _ = begun(True)
    one = loss(model, batches[1])
    with torch.no_grad():
        unseen = model(batches[1]).logits
        assert torch.equal(model.eval()(batches[1]).logits, unseen)
        model.train()
    stream(model, None, input_ids=batches[2])
    one.backward()
    close(gradients(model), gradients(plain), 1e-6)
    assert all(port.final is None for port in ports(model))

    model, states = begun(True)
    one = loss(model, batches[1])
    states.detach()
    refused(one)
    model.zero_grad()
    loss(model, batches[1]).backward()


def test_a_backward_twice_and_a_checkpoint_of_the_whole_model():
    batch = models.ids(2, 6)

    def found(run):
        model = models.tiny("mamba2")
        states = InitialStates(model, "state_passing:p_zero=0")
        train(model, states, [batch])
        run(model)
        states.step()
        return gradients(model), states._policy.carried[0].recurrence.shape[0]

    def plain(model):
        loss = model(batch, labels=batch).loss
        for _ in range(2):
            loss.backward(retain_graph=True)

    def layers(model):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        plain(model)

    def whole(model):
        torch.utils.checkpoint.checkpoint(lambda: model(batch, labels=batch).loss, use_reentrant=False).backward()

    expected, rows = found(plain)
    assert rows == 2
    ours, rows = found(layers)
    close(ours, expected, 1e-6)
    assert rows == 2
    ours, rows = found(whole)
    close({name: 2 * gradient for name, gradient in ours.items()}, expected, 1e-6)
    assert rows == 2


def test_the_last_made_draws_and_the_one_before_is_detached():
    model = models.tiny("mamba2").train()
    batch = models.ids(2, 6)
    before = InitialStates(model, "state_passing:p_zero=0")
    model(batch)
    before.step()
    model(batch, labels=batch).loss.backward()
    states = InitialStates(model, "state_passing:p_zero=0")
    assert len(model._forward_hooks) == len(model._forward_pre_hooks) == 1
    model(batch, labels=batch).loss.backward()
    states.step()
    before.detach()  # as a loop does that is ended late
    begun = model(batch).logits
    assert (begun - stream(model, None, input_ids=batch)[0].logits).abs().max() > 1e-3
    states.step()
    assert states.steps == 2 and before.steps == 1
    with pytest.raises(RuntimeError, match="a step of initial states that are detached"):
        before.step()
    held = weakref.ref(before)
    del before
    gc.collect()
    assert held() is None
    # A copy has its own, and a model that is restored has none.
    other = copy.deepcopy(model)
    InitialStates(other, "zero")
    model(batch)
    states.step()
    baton.restore(model)
    assert not model._forward_hooks and not model._forward_pre_hooks
    with pytest.raises(RuntimeError, match="detached"):
        states.step()
    with pytest.raises(ValueError, match="`passing` given"):
        InitialStates(other, "passing")
    assert len(other._forward_hooks) == 1


def test_where_sequences_begin():
    model = models.tiny("mamba2").train()
    batch = models.ids(300, 3)

    def drawn(policy, before=1):
        states = InitialStates(model, policy, seed=1)
        for _ in range(before):
            model(batch)
            states.step()
        model(batch)
        found = [port.initial and port.initial.recurrence for port in ports(model)]
        finals = [port.size for port in ports(model)]
        carried = states._policy
        states.detach()
        assert all(state is None or state.shape == (300, *size) for state, size in zip(found, finals))
        return found, carried

    assert drawn("zero")[0] == [None, None] and drawn("state_passing", 0)[0] == [None, None]
    noise, _ = drawn("noise:std=0.3,p_zero=0.25")
    at_zero = [(state == 0).flatten(1).all(1) for state in noise]
    assert torch.equal(*at_zero) and 45 <= at_zero[0].sum() <= 105  # five standard errors around 75
    assert abs(noise[0][~at_zero[0]].std() - 0.3) < 0.01 and abs(noise[1].mean()) < 0.01
    passed, policy = drawn("state_passing:p_zero=0.5")
    for state, carried in zip(passed, policy.carried):
        kept = (state != 0).flatten(1).any(1)
        assert 107 <= kept.sum() <= 193 and torch.equal(state[kept], carried.recurrence[kept])
    fitted, policy = drawn("fitted_noise:p_zero=0")
    for state, moments in zip(fitted, policy.moments):
        mean, square = moments.unbind(-1)
        heads = state.transpose(0, 1).flatten(1)
        std = (square - mean**2).sqrt()
        assert ((heads.mean(1) - mean).abs() < 5 * std / heads.shape[1] ** 0.5).all()
        assert ((heads.std(1) / std - 1).abs() < 0.05).all()
    some, _ = drawn("noise:std=1,layers=1,p_zero=0")
    assert (some[0] == 0).all() and (some[1] != 0).all()
    assert drawn("noise:std=1,after=2")[0] == [None, None]
    mixed, _ = drawn("1*noise:std=1,p_zero=0 + 3*zero")
    assert 40 <= (mixed[0] != 0).flatten(1).any(1).sum() <= 110
    early, _ = drawn("noise:std=1,p_zero=0,warmup=4")
    assert 40 <= (early[0] != 0).flatten(1).any(1).sum() <= 110


def test_the_estimator_of_fitted_noise():
    from baton.training.policies import FittedNoise
    from baton.transformers import LayerState

    policy = FittedNoise(0.75, 0, 0.0)
    mean = 0.0
    for n, value in enumerate([4.0, 2.0, 0.0, 6.0, 1.0]):
        policy.observe([LayerState(torch.full((2, 1, 4), value))])
        mean += max(1 / (n + 1), 0.25) * (value - mean)
        assert abs(policy.moments[0][0, 0].item() - mean) < 1e-12


def test_states_that_are_not_finite_are_not_handed_on():
    model = models.tiny("mamba2").train()
    states = InitialStates(model, "state_passing")
    batch = models.ids(2, 6)
    model(batch)
    states.step()
    kept = states._policy.carried
    for port in ports(model):
        port.begin(None, True)
    model(batch)
    states._finals[-1][0] = states._finals[-1][0]._replace(recurrence=torch.full_like(kept[0].recurrence, torch.nan))
    states.step()
    assert states._policy.carried is kept and states.steps == 2


def test_evaluation_in_between_begins_at_zero_and_is_not_seen():
    model = baton.accelerate(models.tiny("mamba2").train())
    batch = models.ids(2, 6)
    plain = stream(model, None, input_ids=batch)[0].logits
    states = InitialStates(model, "state_passing:p_zero=0")
    model(batch)
    states.step()
    begun = model(batch).logits
    assert (begun - plain).abs().max() > 1e-3
    with torch.no_grad():
        assert torch.equal(model.eval()(batch).logits, plain)
        with pytest.raises(RuntimeError, match="in training mode"):
            states.step()
            model(batch)
            states.step()
    assert states._policy.carried[0].recurrence.shape[0] == 2


@pytest.mark.parametrize(
    "policy, said",
    [
        ("noise", "`noise` given without `std`"),
        ("passing", "`passing` given, expected zero, noise, fitted_noise, state_passing, truncated_bptt"),
        ("state_passing:p_zero=2", "p_zero 2.0 given, expected a probability"),
        ("state_passing:p_zero=x", "`x` given as p_zero"),
        (
            "state_passing:std=1",
            "`std` given in `state_passing:std=1`, expected of p_zero, conv, layers, warmup, after",
        ),
        ("state_passing:conv=none", "conv 'none' given, expected zero or carried"),
        ("state_passing:carried", "`carried` given in `state_passing:carried`, expected NAME=VALUE"),
        ("state_passing:layers=2", "layer 2 given, expected one of the model's 2 from 0"),
        ("state_passing:layers=0-x", "`0-x` given as layers"),
        ("0*zero + 0*zero", "weights"),
        ('{"type": "warm_up", "steps": 3}', "`warm_up` given without `policy`"),
        ('{"type": "zero", "p": 1}', "`p` given for `zero`, expected of no options"),
        ('{"type"', "an initial state in JSON given"),
        ({"type": "layers", "of": [{"layers": [0, 0], "policy": {"type": "zero"}}]}, "one initial state for a layer"),
        ([], "given as an initial state"),
    ],
)
def test_policies_that_are_none(policy, said):
    with pytest.raises(ValueError) as raised:
        InitialStates(models.tiny("mamba2"), policy)
    assert said in str(raised.value)


def trainer(folder, policy, steps, resume=False, resume_from=None, **options):
    model = models.tiny("mamba2")
    data = [{"input_ids": row, "labels": row} for row in models.ids(48, 10)]
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=2, gradient_accumulation_steps=2, save_steps=2,
        learning_rate=1e-3, lr_scheduler_type="constant", report_to=[], disable_tqdm=True, use_cpu=True, seed=1,
        logging_steps=1, dataloader_pin_memory=False, **options,
    )  # fmt: skip
    callback = InitialStatesCallback(policy, seed=2, resume_from=resume_from)
    run = transformers.Trainer(model, arguments, train_dataset=data, callbacks=[callback])
    run.train(resume_from_checkpoint=resume)
    return model.state_dict(), callback, [entry["loss"] for entry in run.state.log_history if "loss" in entry]


@pytest.mark.parametrize("policy", ["state_passing:p_zero=0.2", "fitted_noise"])
def test_the_trainer_of_transformers(policy, tmp_path):
    pytest.importorskip("accelerate")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, callback, losses = trainer(tmp_path / "whole", policy, 4)
        assert (
            callback.states.steps == 4 and (tmp_path / "whole" / "checkpoint-2" / "baton-initial-states-0.pt").exists()
        )
        if policy.startswith("state"):
            assert callback.states._policy.carried[0].recurrence.shape[0] == 4  # both parts of the last step
        trainer(tmp_path / "parts", policy, 2)
        resumed, _, _ = trainer(tmp_path / "parts", policy, 4, resume=True)
        half = tmp_path / "whole" / "checkpoint-2"
        elsewhere, _, _ = trainer(tmp_path / "elsewhere", policy, 4, resume=str(half), resume_from=half)
        control, _, _ = trainer(tmp_path / "control", "zero", 4, gradient_checkpointing=True)
    for name, weights in whole.items():
        assert torch.equal(weights, resumed[name]) and torch.equal(weights, elsewhere[name]), name
    assert any(not torch.equal(weights, control[name]) for name, weights in whole.items())


def one_of_two(rank, port, results, policy):
    """A process of two: every step its half of the batch."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = models.tiny("mamba2").train()
    states = InitialStates(model, policy)
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    batches = [models.ids(4, 10, seed)[2 * rank : 2 * rank + 2] for seed in range(3)]
    found = train(parallel, states, batches)
    torch.save([found, states.state_dict()], results / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("policy", ["state_passing:p_zero=0,conv=carried", "fitted_noise:p_zero=1,fit=0"])
def test_two_processes_are_one_of_twice_the_batch(policy, tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(one_of_two, (port, tmp_path, policy), nprocs=2)
    model = models.tiny("mamba2").train()
    states = InitialStates(model, policy)
    whole = train(model, states, [models.ids(4, 10, seed) for seed in range(3)])
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for rank in ranks:
        for ours, theirs in zip(rank[0], whole):
            close({name.removeprefix("module."): gradient for name, gradient in ours.items()}, theirs)
    own = states.state_dict()["policy"]
    if "moments" in own:
        for rank in ranks:
            for ours, theirs in zip(rank[1]["policy"]["moments"], own["moments"]):
                assert torch.allclose(ours, theirs, rtol=1e-4)
    else:
        for layer, theirs in enumerate(own["carried"]):
            ours = torch.cat([rank[1]["policy"]["carried"][layer][0] for rank in ranks])
            assert torch.allclose(ours, theirs[0], atol=1e-5)


def test_segments_of_a_text():
    batches = list(segments(torch.arange(22), 2, 4))
    assert [batch.tolist() for batch in batches] == [
        [[0, 1, 2, 3, 4], [10, 11, 12, 13, 14]],
        [[4, 5, 6, 7, 8], [14, 15, 16, 17, 18]],
    ]
    with pytest.raises(ValueError, match=r"tokens of shape \[8\] given, expected more than batch \* length = 8"):
        next(segments(torch.arange(8), 2, 4))
    assert baton.training.segments is segments
