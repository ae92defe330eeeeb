"""`hundredth encoder evaluate`, from its options to what it prints and writes."""

import json
import shutil

import pytest
from huggingface_hub import constants


@pytest.fixture
def data(tmp_path):
    """STS-B alone, a few pairs of it."""
    folder = tmp_path / "senteval" / "downstream" / "STS" / "STSBenchmark"
    folder.mkdir(parents=True)
    pairs = [
        ("my card is gone", "my card was lost", 4.8),
        ("a refund", "my phone", 0.2),
        ("the hotel", "a hotel", 4),
    ]
    for split in ("train", "dev", "test"):
        lines = [f"g\tf\t2012\t{i}\t{score}\t{a}\t{b}\n" for i, (a, b, score) in enumerate(pairs)]
        (folder / f"sts-{split}.csv").write_text("".join(lines))
    return tmp_path / "senteval"


@pytest.fixture
def two(tiny_encoder, tmp_path):
    """The folders of two encoders, named differently."""
    return tiny_encoder, shutil.copytree(tiny_encoder, tmp_path / "second")


def test_encoders_side_by_side_as_tables_files_and_plots(run, two, data, out):
    result = run("encoder", "evaluate", *two, "--data", data, "--pooling", "mean", "--out", out, "--threads", 1)
    assert result.exit_code == 0, result.stderr
    for word in ("STS-B", "alignment", "uniformity", "second", two[0].name):
        assert word in result.stdout
    assert "left out: STS12" in result.stderr
    assert {"results.json", "sts.svg", "geometry.svg"} <= {path.name for path in out.iterdir()}


def test_json_is_one_object_and_quiet_is_silent(run, tiny_encoder, data):
    result = run("encoder", "evaluate", tiny_encoder, "--data", data, "--pooling", "cls", "--json", "--quiet")
    found = json.loads(result.stdout)
    assert found["encoders"] == {tiny_encoder.name: str(tiny_encoder)}
    assert {row["metric"] for row in found["rows"]} == {"spearman", "alignment", "uniformity"}
    assert {"machine", "versions", "seeds"} <= found.keys()
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tasks", "stsb,mr", "--pooling", "mean"), "does not hold senteval/downstream/MR/rt-polarity.pos"),
        (("--tasks", "sts17", "--pooling", "mean"), "no encoder task 'sts17'"),
        (("--pooling", "max"), "no pooling 'max'"),
        ((), "is no SentenceTransformer"),
    ],
)
def test_bad_options_are_refused_in_one_line(refused, tiny_encoder, data, options, said):
    assert said in refused("encoder", "evaluate", tiny_encoder, "--data", data, "--quiet", *options)


def test_what_is_no_encoder_and_no_data_is_refused(refused, tiny_encoder, data, tmp_path):
    assert "no such file or folder" in refused("encoder", "evaluate", tmp_path / "none", "--data", data, "--quiet")
    assert "cannot be loaded" in refused(
        "encoder", "evaluate", data, "--data", data, "--pooling", "mean", "--quiet"
    )
    assert "does not exist" in refused(
        "encoder", "evaluate", tiny_encoder, "--data", tmp_path / "nowhere", "--quiet"
    )


def test_a_name_on_the_hub_without_a_network_is_said_at_once(refused, data, no_network):
    said = refused("encoder", "evaluate", "nobody-has/this", "--data", data, "--quiet")
    assert "'nobody-has/this' cannot be loaded" in said
    assert constants.HF_HUB_OFFLINE
