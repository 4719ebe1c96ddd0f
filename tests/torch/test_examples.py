"""The examples in PyTorch show what they say, with fewer steps of training."""

from __future__ import annotations

import http.client
import io
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support import scripts


def test_a_forecaster_learns_where_digits_move():
    result = scripts.example("moving_digits").main(steps=45, batch=4)
    net, still, empty = result["errors"].values()
    assert net[0] < 0.7 * empty[0]
    assert (net < 0.95 * empty).all()
    assert (net < still).all()
    assert {frames.shape for frames in result["picture"].values()} == {(6, 32, 32)}


def test_a_decoder_streams_as_it_reads_a_whole_video():
    clips, stream, memory, forgetful = scripts.example("matting_stream").main(videos=25).values()
    assert max(clips, stream) < 1e-5
    assert memory < 0.8 * forgetful


def test_rafts_update_block_refines_a_flow():
    result = scripts.example("raft_update").main(steps=70)
    errors = result["errors"]
    assert (np.diff(errors[:3]) < 0).all()
    assert errors[5] < 0.8 * errors[0]
    assert {images.shape for images in result["picture"].values()} == {(8, 16, 16, 3)}


def test_an_unrolled_network_repairs_what_was_not_measured():
    result = scripts.example("mri_unrolled").main(steps=30)
    errors = result["errors"]
    assert (np.diff(errors[:4]) < 0).all()
    assert errors[-1] < 0.85 * errors[0]
    assert result["inconsistency"] < 1e-5


@pytest.mark.filterwarnings("ignore")  # Lightning's advice on workers and loggers
def test_lightning_trains_and_its_checkpoint_is_read():
    pytest.importorskip("lightning", reason="Lightning is not installed")
    error, still = scripts.example("lightning_training").main(epochs=3).values()
    assert error < 0.9 * still


@pytest.fixture(scope="module")
def service():
    """The example of serving streams: the module, its streams, two at most, and its port."""
    module = scripts.example("serve_stream")
    streams = module.Streams(module.network(), limit=2)
    with module.server(streams) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield module, streams, server.server_port
        server.shutdown()


@pytest.fixture
def ask(service):
    """A function (path, body, Content-Length) -> (status, body); all streams are closed first."""
    _, streams, port = service
    streams.states.clear()

    def request(path, body=b"", length=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", path, body, {} if length is None else {"Content-Length": length})
        answer = connection.getresponse()
        status, text = answer.status, answer.read()
        connection.close()
        return status, text

    return request


def test_served_streams_go_on_side_by_side(service, ask):
    module, streams, _ = service
    x = np.random.default_rng(0).standard_normal((4, 2, *module.SHAPE)).astype("float32")
    names = ["/" + ask("/")[1].decode() for _ in range(2)]
    turns = [[ask(name, module.npy(frame))[1] for name, frame in zip(names, pair, strict=True)] for pair in x]
    answers = np.array([[np.load(io.BytesIO(body)) for body in turn] for turn in turns])
    with torch.no_grad():
        whole, _ = streams.net(torch.from_numpy(x))
    np.testing.assert_allclose(answers, whole.numpy(), atol=1e-6)


def test_serving_says_what_is_wrong_with_a_request(service, ask):
    module, streams, _ = service
    good = module.npy(np.zeros(module.SHAPE, "float32"))
    path = "/" + ask("/")[1].decode()
    cases = {
        b"": (400, "0 bytes of something else"),
        good[:-1]: (400, "in C order, got float32 (1, 24, 32) in 3199 bytes"),
        module.npy(np.zeros((24, 32), "float32")): (400, "got float32 (24, 32)"),
        module.npy(np.zeros(module.SHAPE)[..., :16]): (400, "got float64 (1, 24, 16)"),
        module.npy(np.array([{}])): (400, "got object (1,)"),
        module.npy(np.full(module.SHAPE, np.inf, "float32")): (400, "NaN or infinity"),
        good.replace(b"(1, 24, 32)", b"(1, 10**9,)"): (400, "of something else"),
        good.replace(b"24, 32), ", b"2400000), "): (400, "got float32 (1, 2400000)"),
    }
    for body, (status, words) in cases.items():
        got, text = ask(path, body)
        assert (got, words in text.decode()) == (status, True), text
        assert text.decode().startswith("expected a .npy file of float32 (1, 24, 32)")
    assert ask(path, b"", "9" * 40)[0] == ask(path, b"", "-1")[0] == 413
    assert all((h == 0).all() for h in streams.states[path[1:]][1])  # none of these was a frame
    assert ask(path, good)[0] == 200


def test_served_streams_are_limited_and_expire(service, ask, monkeypatch):
    module, streams, _ = service
    good = module.npy(np.zeros(module.SHAPE, "float32"))
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    first, second = (ask("/")[1].decode() for _ in range(2))
    status, words = ask("/")
    assert (status, words) == (503, b"all 2 streams are taken: try again later")
    now[0] = 50.0
    assert ask("/" + first, good)[0] == 200  # it spoke, the other does not
    now[0] = 70.0
    assert ask("/" + second, good)[0] == 404
    assert ask("/" + first, good)[0] == ask("/")[0] == 200
    assert len(streams.states) == 2


def test_serving_serves_itself(capsys):
    assert scripts.example("serve_stream").main(frames=3) < 1e-6
    assert capsys.readouterr().out.startswith("400: expected a .npy file")
