"""The choice between Triton's kernels and torch's operations, with stand-ins for the kernels."""

from types import SimpleNamespace

import torch

from convgru_torch.accelerator import plain, pointwise


def test_what_triton_lacks_for_a_moment(monkeypatch):
    """Without memory, or while a CUDA graph is recorded, is not without Triton."""

    def full(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    kernels = SimpleNamespace(rnn=full)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(pointwise, "launchers", lambda: kernels)
    monkeypatch.setattr(pointwise, "_found", {})
    assert "no memory to try Triton" in pointwise.why_not_triton("cpu")
    kernels.rnn = plain.rnn
    assert pointwise.why_not_triton("cpu") is None
    tried, capturing = [], [True]
    monkeypatch.setattr(pointwise, "_tried", tried.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing[0])
    assert "a CUDA graph is being recorded" in pointwise.why_not_triton("cuda")
    assert tried == []
    capturing[0] = False
    assert pointwise.why_not_triton("cuda") is pointwise.why_not_triton("cuda") is None
    assert tried == ["cuda"]
