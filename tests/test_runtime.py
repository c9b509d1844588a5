"""The choice of device and precision."""

import logging

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.runtime import Runtime


def test_auto_is_the_cpu_where_paddle_has_no_cuda():
    assert Runtime.choose("auto", "fp32") == Runtime("cpu", "float32")


def test_bf16_on_a_cpu_keeps_the_encoders_in_fp32():
    runtime = Runtime.choose("cpu", "bf16")
    assert (runtime.dtype, runtime.encoder_dtype) == ("bfloat16", "float32")


def test_encoders_on_a_gpu_have_the_precision_of_the_run():
    assert Runtime("gpu:0", "float16").encoder_dtype == "float16"


def test_fp16_on_a_cpu_becomes_bf16_and_says_so(caplog):
    with caplog.at_level(logging.WARNING, logger="ppdiffusers_ext"):
        assert Runtime.choose("cpu", "fp16").dtype == "bfloat16"
    assert "bf16 weights are used instead of fp16" in caplog.text


@pytest.mark.parametrize("dtype, lacks, said", [("bf16", True, 1), ("bf16", False, 0), ("fp32", True, 0)])
def test_bf16_on_a_processor_without_it_says_so(caplog, monkeypatch, dtype, lacks, said):
    monkeypatch.setattr("ppdiffusers_ext.runtime.lacks_bf16", lambda: lacks)
    Runtime.choose("cpu", dtype)
    assert caplog.text.count("this processor has no arithmetic in bf16") == said


@pytest.mark.parametrize("dtype", ["fp8", "float32", ""])
def test_an_unknown_dtype_names_the_accepted(dtype):
    with pytest.raises(InputError, match="fp32, fp16, bf16"):
        Runtime.choose("cpu", dtype)


@pytest.mark.parametrize("device", ["cuda", "gpu:x", "tpu", ""])
def test_an_unknown_device_names_the_accepted(device):
    with pytest.raises(InputError, match="auto, cpu, gpu or gpu:N"):
        Runtime.choose(device, "fp32")


def test_a_gpu_without_cuda_names_the_requirements():
    with pytest.raises(InputError, match="requirements-gpu.txt"):
        Runtime.choose("gpu", "fp32")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("paddle.is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr("paddle.device.cuda.device_count", lambda: 1)
    with pytest.raises(InputError, match="has 1 GPUs"):
        Runtime.choose("gpu:1", "fp32")


def test_auto_takes_the_first_gpu(monkeypatch):
    chosen = []
    monkeypatch.setattr("paddle.is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr("paddle.device.cuda.device_count", lambda: 2)
    monkeypatch.setattr("paddle.set_device", chosen.append)
    assert Runtime.choose("auto", "fp16") == Runtime("gpu:0", "float16")
    assert chosen == ["gpu:0"]
